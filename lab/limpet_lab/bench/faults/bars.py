"""What has to hold for each fault. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from limpet_lab.bench.faults.figures import FaultFigures, Timeline
from limpet_lab.bench.faults.load import Exchange

ADDED_P99_MS: Final = 10.0
MOVED_S: Final = 1.0
TOLD_BY: Final = 10
RETURN_S: Final = 2.0
ASKED_S: Final = 10.0
OVER_S: Final = 5.0
"""For the requests that find it out."""
ARRIVED_S: Final = 30.0
LATE_LOOKUPS: Final = 1
"""Conversations of a run that may miss their memory once more: a lookup has five milliseconds on a busy machine."""
UNDECIDED_S: Final = 5.0
"""By then a worker that takes calls and answers none is no longer asked."""


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """The figures of a fault, for its bars."""

    figures: FaultFigures
    timeline: Timeline
    exchanges: Sequence[Exchange]
    victim: str | None


@dataclass(frozen=True, slots=True)
class FaultBar:
    """A bar, and its test: None if it is held, else what was seen."""

    text: str
    missed: Callable[[FaultOutcome], str | None]


def _errors(outcome: FaultOutcome) -> str | None:
    return _shown(outcome.figures.errors)


def _shown(errors: Sequence[Exchange]) -> str | None:
    if not errors:
        return None
    first = errors[0]
    return (
        f"{len(errors)} errors, the first of conversation {first.conversation} at {first.began_s:.2f} s: {first.error}"
    )


def _attempts(outcome: FaultOutcome) -> str | None:
    most = outcome.figures.extra_attempts_of_one
    return f"one conversation needed {most}" if most > 1 else None


def _told(outcome: FaultOutcome) -> str | None:
    move = outcome.figures.move
    if move is None:
        return "nobody met the fault"
    return f"{move.told_by} requests" if move.told_by > TOLD_BY else None


def _moved(outcome: FaultOutcome) -> str | None:
    move = outcome.figures.move
    if move is None:
        return "nobody met the fault"
    return f"{move.moved_s:.2f} s" if move.moved_s > MOVED_S else None


def _only_the_broken(outcome: FaultOutcome) -> str | None:
    timeline = outcome.timeline
    others = [
        each
        for each in outcome.figures.errors
        if each.status != 0 or not timeline.begun_s <= each.ended_s or each.began_s >= timeline.ended_s
    ]
    if others:
        return _shown(others)
    losses = [each.conversation for each in outcome.figures.errors]
    twice = sorted({each for each in losses if losses.count(each) > 1})
    return f"conversations {twice} lost more than one" if twice else None


def _next_turn_elsewhere(outcome: FaultOutcome) -> str | None:
    stayed = []
    for error in outcome.figures.errors:
        later = [e for e in outcome.exchanges if e.conversation == error.conversation and e.began_s > error.began_s]
        following = min(later, key=lambda each: each.began_s, default=None)
        if following is not None and following.provider == outcome.victim:
            stayed.append(error.conversation)
    return f"conversations {stayed} were sent there again" if stayed else None


def _refused_in_dialect(outcome: FaultOutcome) -> str | None:
    wrong = [each for each in outcome.figures.errors if each.status != 503 or not each.in_dialect]
    return _shown(wrong)


def _served_after_return(outcome: FaultOutcome) -> str | None:
    ended_s = outcome.timeline.ended_s
    served = [each.ended_s - ended_s for each in outcome.exchanges if not each.error and each.ended_s > ended_s]
    first = min(served, default=inf)
    return f"the first success came after {first:.2f} s" if first > RETURN_S else None


def _p99(outcome: FaultOutcome) -> str | None:
    added = outcome.figures.added_p99_ms
    return "not measured" if added is None else f"{added:.1f} ms" if added > ADDED_P99_MS else None


def _one_turn(outcome: FaultOutcome) -> str | None:
    twice = outcome.figures.unremembered_twice
    return f"{twice} conversations needed more: {outcome.figures.decisions}" if twice > LATE_LOOKUPS else None


def _stays(outcome: FaultOutcome) -> str | None:
    astray = outcome.figures.astray
    return f"{astray} turns went elsewhere: {outcome.figures.decisions}" if astray else None


def _undecided_there(outcome: FaultOutcome) -> str | None:
    begun_s = outcome.timeline.begun_s
    elsewhere = [
        each
        for each in outcome.exchanges
        if each.decision == "fallback.undecided" and (each.gateway != 0 or each.began_s > begun_s + UNDECIDED_S)
    ]
    return f"{len(elsewhere)} at another gateway, or later" if elsewhere else None


def _expired(outcome: FaultOutcome) -> str | None:
    later = [each for each in outcome.exchanges if each.began_s >= outcome.timeline.begun_s and each.turn > 1]
    expired = sum(each.decision == "sticky.expired" for each in later)
    if expired:
        return f"{expired} turns found their memory expired"
    forgotten = Counter(each.conversation for each in later if each.decision.startswith("first."))
    twice = sum(turns > 1 for turns in forgotten.values())
    return f"{twice} conversations were unknown more than once" if twice > LATE_LOOKUPS else None


def _all_decided(outcome: FaultOutcome) -> str | None:
    return f"{outcome.figures.undecided} were not" if outcome.figures.undecided else None


def _noted(name: str, limit: float) -> Callable[[FaultOutcome], str | None]:
    def missed(outcome: FaultOutcome) -> str | None:
        value = outcome.timeline.notes.get(name, inf)
        assert isinstance(value, float)
        return f"{value:.1f} s" if value > limit else None

    return missed


NO_ERRORS: Final = FaultBar("no client sees an error", _errors)
ONE_EXTRA: Final = FaultBar("at most 1 extra attempt a conversation", _attempts)
TOLD_SOON: Final = FaultBar(f"left within {TOLD_BY} requests", _told)
MOVED_SOON: Final = FaultBar(f"moved within {MOVED_S:.0f} s", _moved)
MOVES: Final = (NO_ERRORS, ONE_EXTRA, TOLD_SOON, MOVED_SOON)

ONLY_THE_BROKEN: Final = FaultBar("the broken answer is the only loss", _only_the_broken)
NEXT_TURN_ELSEWHERE: Final = FaultBar("the next turn is elsewhere", _next_turn_elsewhere)
IN_DIALECT: Final = FaultBar("503 in the client's dialect meanwhile", _refused_in_dialect)
SERVED_AFTER_RETURN: Final = FaultBar(f"first success within {RETURN_S:.0f} s of the return", _served_after_return)
LITTLE_LATER: Final = FaultBar(f"added p99 at most {ADDED_P99_MS:.0f} ms", _p99)
STICKY_IN_A_TURN: Final = FaultBar("sticky again within one turn", _one_turn)
ASKED_AGAIN: Final = FaultBar(f"workers ask it again within {ASKED_S:.0f} s", _noted("memory_up_s", ASKED_S))
STAYS: Final = FaultBar("every conversation stays where it is", _stays)
UNDECIDED_THERE: Final = FaultBar("only requests in that worker go undecided", _undecided_there)
NOTHING_EXPIRES: Final = FaultBar("nothing expires early", _expired)
NOTHING_STAYS: Final = FaultBar("a limit of two seconds is over after six", _noted("limit_over_s", OVER_S))
ALL_DECIDED: Final = FaultBar("every request is decided", _all_decided)
CHANGE_ARRIVES: Final = FaultBar("the change arrives after the restart", _noted("arrived_s", ARRIVED_S))
CONDITION_SAYS: Final = FaultBar("the condition says why", _noted("condition_s", ARRIVED_S))
