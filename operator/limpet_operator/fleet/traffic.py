"""What the requests of all workers show about each provider. Pure; replicas send summaries and join them."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import CacheUse, Evidence
from limpet_operator.fleet import cache_use, tally
from limpet_operator.fleet.tally import Tally
from limpet_operator.fleet.view import Traffic

TIMEOUTS_TOLD: Final = 3
"""Attempts in ten minutes that make a provider one that times out; one or two may be an accident."""


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Some workers' evidence about one provider."""

    whole: Tally = tally.NO_EVIDENCE
    models: dict[str, Tally] = {}
    """Those that were asked for lately."""
    cache: CacheUse = CacheUse()
    timeouts: int = 0
    """Attempts of the last ten minutes that its timeouts ended."""


NOTHING: Final = Summary()


def summary(evidence: Iterable[Evidence]) -> Summary:
    """The evidence of some workers about one provider, joined."""
    return joined(
        Summary(
            tally.tally(each),
            {model.model: tally.tally(model) for model in each.models},
            each.cache,
            each.timeouts,
        )
        for each in evidence
    )


def joined(summaries: Iterable[Summary]) -> Summary:
    """One summary of all."""
    return reduce(_joined, summaries, NOTHING)


def _joined(one: Summary, other: Summary) -> Summary:
    return Summary(
        tally.joined((one.whole, other.whole)),
        _models(one.models, other.models),
        cache_use.joined(one.cache, other.cache),
        one.timeouts + other.timeouts,
    )


def _models(one: Mapping[str, Tally], other: Mapping[str, Tally]) -> dict[str, Tally]:
    return {
        name: tally.joined((one.get(name, tally.NO_EVIDENCE), other.get(name, tally.NO_EVIDENCE)))
        for name in sorted(one.keys() | other.keys())
    }


def traffic_from(everywhere: Summary) -> Traffic | None:
    """The provider's state by the evidence of all workers; None: there is none."""
    whole = tally.state(everywhere.whole)
    models = {name: found for name, each in everywhere.models.items() if (found := tally.state(each)) is not None}
    if whole is None and not models:
        return None
    return Traffic(
        whole,
        models,
        cache_use.hit_percent(everywhere.cache),
        cache_use.conversations(everywhere.cache),
        everywhere.timeouts >= TIMEOUTS_TOLD,
    )
