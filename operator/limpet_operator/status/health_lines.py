"""How providers are doing, as lines for a terminal or a pod's log. Pure.

Failover hides a provider that refuses its key: clients get their answers from the next one. So there is one line when
that begins, in the words of the condition and Event in a cluster, and one when it is over.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from limpet_extproc.contract.health_stream import VERDICTS
from limpet_operator.status.health import ProviderHealth


class HealthLine(NamedTuple):
    """A provider's change for the better or the worse."""

    provider: str
    text: str
    reason: str
    bad: bool
    """Whether something is wrong with it now."""


def health_lines(before: Mapping[str, ProviderHealth], now: Mapping[str, ProviderHealth]) -> Iterator[HealthLine]:
    """A line for every provider that is doing otherwise than before; none where less is known now."""
    for name, health in sorted(now.items()):
        was, found = _trouble(before.get(name)), _trouble(health)
        finding = health.finding
        if found == was or _knows_less(before.get(name), health):
            continue
        if found is None:
            yield HealthLine(name, f"{name} is Up again: {finding.message}", finding.reason, bad=False)
        else:
            text = f"{name} is {health.verdict} ({finding.reason}): {finding.message}"
            yield HealthLine(name, text, finding.reason, bad=True)


def told_after(told: Mapping[str, ProviderHealth], now: Mapping[str, ProviderHealth]) -> Mapping[str, ProviderHealth]:
    """What has been told once the lines from `told` to `now` have been."""
    return {**told, **{name: health for name, health in now.items() if not _knows_less(told.get(name), health)}}


def _knows_less(told: ProviderHealth | None, now: ProviderHealth) -> bool:
    """Whether `now` only seems better because what requests had shown is gone, as after a restart of a worker."""
    if now.verdict == "Unknown":
        return True
    if told is None or told.verdict == "Unknown" or not told.by_requests or now.by_requests:
        return False
    if told.verdict == "Down" and now.finding.reason == "ProbeOK":
        return False  # A good probe brings it back for requests, too.
    return VERDICTS.index(now.verdict) < VERDICTS.index(told.verdict)


def _trouble(health: ProviderHealth | None) -> object:
    """What makes a difference worth a line; None: no trouble is known."""
    if health is None or health.finding.status != "False":
        return None
    worse = [(model.name, model.verdict) for model in health.models if model.verdict != "Up"]
    return health.verdict, health.finding.reason, worse
