"""When a conversation leaves the provider where it is warm and all is well: by expected dollars, and never by habit."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final, NamedTuple

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.limits import used_most
from limpet_extproc.decision.price import usual_usd
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.unbeaten import MARGIN
from limpet_extproc.decision.warmth import NO_WARMTH, Warmth
from limpet_extproc.memory import Remembered

MOST_USED: Final = 0.5
"""Of a provider's limits, up to which conversations move there for its price. The other half is for those that are
there: one that is turned away pays for its prompt twice."""


def is_surely_cheapest(sticky: Candidate, query: Query, warmth: Warmth) -> bool:
    """Whether no other provider is worth a move whatever comes (`unbeaten`), so that nothing has to be reckoned.

    False does not say that one is.
    """
    if sticky.price is None:
        return True  # a reason to stay: nobody knows what another would save
    return (
        sticky.provider in query.lane.unbeaten
        and not query.service_tier
        and query.marks_ttl_s is None
        and query.retention_ttl_s is None
        and (not warmth.tokens or (len(warmth.tokens) == 1 and sticky.provider in warmth.tokens))
    )


def may_leave(query: Query, remembered: Remembered, states: ProviderStates) -> bool:
    """Whether it matters to a warm conversation where else the beginning is warm that it shares with others.

    It does if it may have to leave, as somebody is not well, or may want to; for others it is not worth asking.
    """
    if not remembered.warm or not remembered.pace.head_tokens:
        return False
    sticky = query.lane.by_provider.get(remembered.warm[0].provider)
    return sticky is None or not states.all_well or not is_surely_cheapest(sticky, query, NO_WARMTH)


class MoveTarget(NamedTuple):
    """A candidate, or several at which everything costs the same."""

    candidate: Candidate
    """Any of them."""
    alike: Iterable[tuple[int, Candidate]]
    """All of them, each with where it comes among the candidates of all targets; in that order. Read once at most."""


def cheaper_place(
    filtered: Filtered,
    sticky: Candidate,
    targets: Sequence[MoveTarget],
    usd: Sequence[tuple[float, float]],
    query: Query,
    states: ProviderStates,
    now_s: float,
    warm: Sequence[str],
) -> tuple[Candidate | None, bool]:
    """The one of these that saves most, if that is worth the move; and whether one was passed over that would save.

    `usd` is what each target costs (`totals`), `warm` are those where it was before and is still warm.

    The margin counts against staying for good: to leave one turn later always costs nearly the same.

    It has to be well, to take new conversations too, and to have been well for a while. Without a price nobody knows.
    It also has to be cheaper for a usual request: as that depends on prices alone, no conversation goes to and fro.
    Where it was before, it has to be so at the prices of short prompts too, or its length would lead it to and fro.
    """
    price = request_price(sticky, query)
    if price is None:
        return None, False
    stays, leaves = next(both for (each, _), both in zip(targets, usd, strict=True) if each is sticky)
    best, best_usd, best_at, passed_over = None, min((1 - MARGIN) * stays, leaves), -inf, False
    for (each, alike), both in zip(targets, usd, strict=True):
        expected = min(both)
        if expected > best_usd or each is sticky:
            continue
        cheaper = _is_cheaper(request_price(each, query), price)
        if each.provider in warm and (each.tiers or sticky.tiers):
            cheaper = cheaper and _is_cheaper(each.price, sticky.price)
        if not cheaper:
            continue
        factor = states.factor(each.provider, filtered.lane.model)
        passed_over |= factor > 1.0
        expected *= factor
        if expected > best_usd:
            continue
        for at, candidate in alike:
            if expected == best_usd and at >= best_at:
                break  # of equals the first
            if _may_move(filtered, candidate, states, now_s):
                best, best_usd, best_at = candidate, expected, at
                break
        else:
            passed_over = True
    return best, passed_over


def _is_cheaper(price: Price | None, present: Price | None) -> bool:
    return price is not None and present is not None and usual_usd(price) < usual_usd(present)


def _may_move(filtered: Filtered, to: Candidate, states: ProviderStates, now_s: float) -> bool:
    name = to.provider
    return (
        name not in filtered.excluded
        and name not in filtered.trials
        and name not in filtered.shares
        and to.weight > 0
        and (to.limits is None or used_most(to.limits, states.used(name, now_s)) < MOST_USED)
        and states.has_been_well(name, filtered.lane.model, now_s)
    )
