"""From the requests of one fault to its figures. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from math import ceil, inf
from statistics import median
from typing import Final

from limpet_lab.bench.faults.load import Exchange

_QUIET_S: Final = 1.0
"""A provider that is left alone for so long has been left; later requests there are trials, or a return."""

_MUCH_SLOWER: Final = 4.0

_STICKY: Final = (
    "sticky.hit",
    "sticky.pending",
    "sticky.within",
    "sticky.returned",
    "sticky.moved.cheaper",
    "unsticky.",
)
"""Beginnings of decisions by which a conversation stays where it is, or loses nothing where it goes. `first.warm_head`
is none: of a conversation that goes on it says that the memory has lost it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """When what happened, in seconds since the load began."""

    begun_s: float
    """The fault was complete."""
    ended_s: float
    """It was over."""
    healed_s: float
    """From here on the memory could be right: conversations that lost their provider, or their memory, have another."""
    notes: dict[str, float | str] = field(default_factory=dict)
    """What the fault's own steps found out, by name."""


@dataclass(frozen=True, slots=True)
class Move:
    """How the conversations left a provider that failed or became slow."""

    moved_s: float
    """From the end of the first request that met the fault to the beginning of the last before it was left."""
    told_by: int
    """Requests that met the fault and had ended when the last one was sent there."""
    trials: int
    """Requests sent there afterwards, during the fault."""


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """What one fault did."""

    requests: int
    errors: tuple[Exchange, ...]
    extra_attempts: int
    extra_attempts_of_one: int
    """The most that the fault cost any one conversation."""
    move: Move | None
    """None: the fault concerns no provider, or nobody met it."""
    sticky_again_s: float
    """From when the memory could be right to the last turn of a known conversation that was not decided by it."""
    unremembered_of_one: int
    """The most such turns of any one conversation."""
    unremembered_twice: int
    """Conversations with more than one such turn."""
    astray: int
    """Turns that went to another provider than the conversation's last one, from the fault's beginning on."""
    cached_before: float | None
    cached_during: float | None
    cached_after: float | None
    """Shares of prompt tokens; None: nothing was asked."""
    added_p99_ms: float | None
    """Of the workers' decisions, during the fault over before."""
    later_p99_ms: float | None
    """The same of the clients' first bytes, which shows all that the machine does besides."""
    undecided: int
    """Requests that no worker decided."""
    decisions: dict[str, int]
    """Of requests from the fault's beginning on."""


def figures_of(
    exchanges: Sequence[Exchange],
    timeline: Timeline,
    victim: str | None,
    slow: bool = False,
    decision_p99_ms: tuple[float | None, float | None] = (None, None),
) -> FaultFigures:
    """`victim`: the provider that the fault concerns, which fails or is only `slow`.

    `decision_p99_ms`: before the fault, and during it.
    """
    begun_s, ended_s = timeline.begun_s, timeline.ended_s
    before = [each for each in exchanges if each.ended_s < begun_s]
    during = [each for each in exchanges if each.ended_s >= begun_s and each.began_s < ended_s]
    after = [each for each in exchanges if each.began_s >= ended_s]
    extra = _per_conversation(during, lambda each: max(0, each.attempts - 1))
    lost = [each for each in exchanges if each.began_s >= timeline.healed_s and each.turn > 1 and not _kept(each)]
    turns_lost = _per_conversation(lost, lambda _: 1)
    return FaultFigures(
        requests=len(exchanges),
        errors=tuple(each for each in exchanges if each.error),
        extra_attempts=sum(max(0, each.attempts - 1) for each in exchanges),
        extra_attempts_of_one=max(extra.values(), default=0),
        move=move_away(during, victim, _usual_s(before) if slow else inf) if victim else None,
        sticky_again_s=max((each.began_s - timeline.healed_s for each in lost), default=0.0),
        unremembered_of_one=max(turns_lost.values(), default=0),
        unremembered_twice=sum(turns > 1 for turns in turns_lost.values()),
        astray=sum(each.began_s >= begun_s for each in gone_astray(exchanges)),
        cached_before=cached_share(each for each in before if each.turn > 1),
        cached_during=cached_share(each for each in during if each.turn > 1),
        cached_after=cached_share(each for each in after if each.turn > 1),
        added_p99_ms=_more(*decision_p99_ms),
        # First turns are slower everywhere, as nothing is cached yet.
        later_p99_ms=_more(*(first_byte_p99_ms(each for each in part if each.turn > 1) for part in (before, during))),
        undecided=sum(each.decision == "fallback.undecided" for each in exchanges),
        decisions=dict(Counter(each.decision or "none" for each in (*during, *after)).most_common()),
    )


def move_away(during: Iterable[Exchange], victim: str, usual_s: float) -> Move | None:
    """How a provider was left; None: nobody met the fault there.

    `usual_s`: how long an answer takes without it; infinite if those that come take no longer.
    """
    sent = sorted((each for each in during if touched(each, victim)), key=lambda each: each.began_s)
    # A fault may take effect later: names that no longer resolve are known for some seconds more.
    met = list(dropwhile(lambda each: not _harmed(each, usual_s), sent))
    if not met:
        return None
    last = 0
    while last + 1 < len(met) and met[last + 1].began_s - met[last].began_s < _QUIET_S:
        last += 1
    first_known_s = min(each.ended_s for each in met[: last + 1])
    left_s = met[last].began_s
    told_by = sum(each.ended_s <= left_s for each in met[: last + 1])
    return Move(max(0.0, left_s - first_known_s), told_by, len(met) - last - 1)


def _harmed(exchange: Exchange, usual_s: float) -> bool:
    took_s = exchange.ended_s - exchange.began_s
    return bool(exchange.error) or exchange.attempts > 1 or took_s > _MUCH_SLOWER * usual_s


def touched(exchange: Exchange, victim: str) -> bool:
    """Whether a request was sent to this provider, while all others answer."""
    return exchange.provider == victim or exchange.attempts > 1


def gone_astray(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Answers by another provider than that of the conversation's answer before."""
    astray, home = [], dict[int, str]()
    for each in sorted(exchanges, key=lambda each: each.began_s):
        if not each.error:
            if home.setdefault(each.conversation, each.provider) != each.provider:
                astray.append(each)
            home[each.conversation] = each.provider
    return astray


def _usual_s(before: Iterable[Exchange]) -> float:
    return median([each.ended_s - each.began_s for each in before if not each.error] or [inf])


def cached_share(exchanges: Iterable[Exchange]) -> float | None:
    """Cached over prompt tokens; None: there were none."""
    prompt = cached = 0
    for each in exchanges:
        prompt += each.prompt
        cached += each.cached
    return cached / prompt if prompt else None


def first_byte_p99_ms(exchanges: Iterable[Exchange]) -> float | None:
    """The 99th percentile of the time to the first byte, by nearest rank; None: nothing was answered."""
    times = sorted(each.first_byte_s for each in exchanges if not each.error)
    return 1000 * times[ceil(0.99 * len(times)) - 1] if times else None


def _more(usual: float | None, now: float | None) -> float | None:
    return None if usual is None or now is None else now - usual


def _kept(exchange: Exchange) -> bool:
    return exchange.decision.startswith(_STICKY)


def _per_conversation(exchanges: Iterable[Exchange], count: Callable[[Exchange], int]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for each in exchanges:
        counted[each.conversation] += count(each)
    return counted
