"""Everything that the probes of one replica have found, as a value. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from limpet_extproc.contract.health_stream import Probed
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.planning.probe_targets import PlannedProbe, ProbeTarget
from limpet_operator.probe.combine import ProviderStanding, combined, model_of
from limpet_operator.probe.judge import NEW, Standing, judged, unsettled
from limpet_operator.probe.outcome import Outcome
from limpet_operator.probe.request import asked_for
from limpet_operator.probe.schedule import Pair
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.problem import ObjectKey


@dataclass(frozen=True, slots=True)
class Probing:
    """One probe of one provider: what is sent, and what is known."""

    probe: HealthProbe
    target: ProbeTarget
    provider: PlannedProvider
    standing: Standing = NEW


@dataclass(frozen=True, slots=True)
class Board:
    """All probes and their providers."""

    pairs: Mapping[Pair, Probing] = field(default_factory=dict)

    def intervals_s(self) -> Mapping[Pair, float]:
        """How often each is probed."""
        return {pair: probing.probe.interval_s for pair, probing in self.pairs.items()}


def replanned(
    board: Board, probes: Iterable[PlannedProbe], providers: Mapping[str, PlannedProvider]
) -> tuple[Board, Collection[Pair]]:
    """For these probes from now on, and the pairs of which the probe or the provider has changed.

    What is known of a provider stands until new answers show what the change did, unless something else is asked now.
    """
    pairs: dict[Pair, Probing] = {}
    changed: set[Pair] = set()
    for planned in probes:
        for target in planned.targets:
            pair = Pair(planned.spec.key, target.provider)
            before, provider = board.pairs.get(pair), providers[target.provider]
            if before is None or (before.probe.check, before.target) != (planned.spec.check, target):
                pairs[pair] = Probing(planned.spec, target, provider)
                changed.add(pair)
            elif before.provider != provider or _outcome_depends(before.probe) != _outcome_depends(planned.spec):
                pairs[pair] = Probing(planned.spec, target, provider, unsettled(before.standing))
                changed.add(pair)
            else:
                pairs[pair] = Probing(planned.spec, target, provider, before.standing)
    return Board(pairs), changed


def _outcome_depends(probe: HealthProbe) -> tuple[object, ...]:
    """What of a probe decides the outcome of one request; what else there is says how often, and how many count."""
    return probe.check, probe.timeout_s, probe.thresholds.degraded_after_s


def with_outcome(
    board: Board, pair: Pair, asked: Probing, outcome: Outcome, now_s: float, sent_s: float = 0.0
) -> Board:
    """After one more outcome of a request that was sent as `asked`; of one that is sent no more it changes nothing.

    `now_s` is Unix time, `sent_s` is by a steady clock.
    """
    current = board.pairs.get(pair)
    if current is None or (current.probe.check, current.target) != (asked.probe.check, asked.target):
        return board
    standing = judged(current.standing, outcome, current.probe.thresholds, now_s, sent_s)
    return Board({**board.pairs, pair: Probing(current.probe, current.target, current.provider, standing)})


def verdicts(board: Board, inherited: Iterable[Probed] = ()) -> tuple[Probed, ...]:
    """Of all providers. Those that were `inherited` stand for a provider until its own probes have settled."""
    own = combined(
        ProviderStanding(probing.probe, probing.target.provider, probing.standing) for probing in board.pairs.values()
    )
    unknown = {probing.target.provider for probing in board.pairs.values() if not probing.standing.settled}
    known = {(probed.provider, probed.model) for probed in own}
    return (
        *own,
        *(each for each in inherited if each.provider in unknown and (each.provider, each.model) not in known),
    )


def with_ages(probed: Iterable[Probed], board: Board, now_s: float) -> tuple[Probed, ...]:
    """The same, with the age of the newest probe where the last of each HealthProbe was good; `now_s` is steady."""
    good_s: dict[tuple[str, str], list[float]] = {}
    for probing in board.pairs.values():
        provider, standing = probing.target.provider, probing.standing
        subject = provider, model_of(ProviderStanding(probing.probe, provider, standing))
        good_s.setdefault(subject, []).append(standing.good_s)
    return tuple(_with_age(each, good_s.get((each.provider, each.model), ()), now_s) for each in probed)


def _with_age(probed: Probed, good_s: Collection[float], now_s: float) -> Probed:
    if probed.verdict != "Up" or not good_s or not all(good_s):
        return probed
    return msgspec.structs.replace(probed, good_age_s=now_s - max(good_s))


def results(board: Board) -> Mapping[ObjectKey, Sequence[ProbeResult]]:
    """HealthProbe -> one result for each of its providers, by name."""
    found: dict[ObjectKey, list[ProbeResult]] = {}
    for pair, probing in sorted(board.pairs.items()):
        found.setdefault(pair.probe, []).append(_result(probing))
    return found


def _result(probing: Probing) -> ProbeResult:
    standing, last = probing.standing, probing.standing.last
    return ProbeResult(
        provider=probing.target.provider,
        verdict=standing.verdict,
        cause=standing.decided_by.cause,
        since_s=standing.since_s,
        model=model_of(ProviderStanding(probing.probe, probing.target.provider, standing)),
        last_s=standing.last_s,
        last_cause=last.cause,
        status=last.status,
        message=standing.decided_by.message or last.message,
        rejected=asked_for(probing.probe, probing.provider.spec) if last.blames_probe else "",
        not_sent=last.not_sent,
    )


def noteworthy(found: Mapping[ObjectKey, Sequence[ProbeResult]]) -> Iterator[tuple[object, ...]]:
    """What of the results changes seldom, to be compared: not when the last probe ended, and not its words."""
    for key, of_probe in found.items():
        for result in of_probe:
            at_fault = result.last_cause if result.verdict is None or result.rejected else ""
            yield key, result.provider, result.verdict, result.cause, result.model, bool(result.not_sent), at_fault
