"""What `limpet bench activity-away` makes of its load: times by phase with the service killed and untouched. Pure."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Final, NamedTuple

import msgspec
from rich.box import SIMPLE
from rich.table import Table

RUNS: Final = ("untouched", "killed")
"""What becomes of the service in a run; each run of one is followed by a run of the other."""
PHASES: Final = ("there", "away", "back")
"""Thirds of a run; in an untouched one the service is always there."""
WARM_UP_S: Final = 5.0
_QUARTERS: Final = 4
"""How far the p99 of a phase's quarters lie apart is the noise."""
_SLOW: Final = 0.99
"""Of the requests of untouched runs so many are not slow."""
_SECONDS_SHOWN: Final = 20


class SentRequest(msgspec.Struct):
    """A request of the load."""

    due_s: float
    """Since the load began."""
    took_s: float
    """From when it was due."""
    status: int
    """0: there was no answer."""


class AwaySchedule(NamedTuple):
    """When what happens, in seconds since the load began."""

    seconds: float
    """Of each phase."""
    rounds: int
    """Of an untouched run and one in which the service is killed."""

    @property
    def ends_s(self) -> float:
        """When the last phase is over."""
        return WARM_UP_S + self.rounds * len(RUNS) * len(PHASES) * self.seconds

    def begins(self, run: str, phase: str) -> list[float]:
        """Of this phase, in each round."""
        at = RUNS.index(run) * len(PHASES) + PHASES.index(phase)
        of_round = len(RUNS) * len(PHASES)
        return [WARM_UP_S + (number * of_round + at) * self.seconds for number in range(self.rounds)]


class PhaseTimes(msgspec.Struct):
    """Of the requests that were due in one phase of all rounds, in milliseconds."""

    run: str
    phase: str
    requests: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    least_p99_ms: float
    """Of the quarters of the phase."""
    most_p99_ms: float
    failed: int
    slow_by_second: list[int]
    """Slow requests by the second of the phase in which they were due."""


class AwayFigures(msgspec.Struct):
    """What the bench found."""

    per_second: int
    seconds: float
    rounds: int
    slow_ms: float
    """What is slower is called slow: the p99 of all requests of untouched runs."""
    phases: list[PhaseTimes]
    sent: int
    kept: int
    """Requests with a record."""
    lost: int
    doubled: int
    """Records beyond the first one of a request."""

    def worst_untouched_ms(self) -> float:
        """The highest p99 of a quarter of a phase with the service untouched."""
        return max(each.most_p99_ms for each in self.phases if each.run == RUNS[0])

    def beyond_noise(self) -> list[PhaseTimes]:
        """Phases of a killed service whose p99 is above that of every quarter without."""
        return [each for each in self.phases if each.run != RUNS[0] and each.p99_ms > self.worst_untouched_ms()]


def figures_of(sent: Sequence[SentRequest], kept: Counter[str], per_second: int, schedule: AwaySchedule) -> AwayFigures:
    """From what was sent, and how many records each conversation has."""
    untouched = [each.took_s for phase in PHASES for each in _due(sent, schedule, RUNS[0], phase)]
    slow_s = _at(sorted(untouched), _SLOW)
    phases = [_phase(run, phase, sent, schedule, slow_s) for run in RUNS for phase in PHASES]
    lost, doubled = max(0, len(sent) - len(kept)), kept.total() - len(kept)
    return AwayFigures(
        per_second, schedule.seconds, schedule.rounds, _ms(slow_s), phases, len(sent), len(kept), lost, doubled
    )


def _due(sent: Sequence[SentRequest], schedule: AwaySchedule, run: str, phase: str) -> list[SentRequest]:
    """The requests of a phase of all rounds, their `due_s` counted from its beginning."""
    begins = schedule.begins(run, phase)
    return [
        SentRequest(each.due_s - begin_s, each.took_s, each.status)
        for begin_s in begins
        for each in sent
        if begin_s <= each.due_s < begin_s + schedule.seconds
    ]


def _phase(run: str, phase: str, sent: Sequence[SentRequest], schedule: AwaySchedule, slow_s: float) -> PhaseTimes:
    due = _due(sent, schedule, run, phase)
    times = sorted(each.took_s for each in due)
    quarters: list[list[float]] = [[] for _ in range(_QUARTERS)]
    slow = [0] * ceil(schedule.seconds)
    for each in due:
        quarters[int(each.due_s / schedule.seconds * _QUARTERS)].append(each.took_s)
        slow[int(each.due_s)] += each.took_s > slow_s
    of_quarters = [_ms(_at(sorted(each), 0.99)) for each in quarters if each]
    return PhaseTimes(
        run,
        phase,
        len(times),
        _ms(_at(times, 0.5)),
        _ms(_at(times, 0.99)),
        _ms(_at(times, 1.0)),
        min(of_quarters, default=0.0),
        max(of_quarters, default=0.0),
        sum(each.status != 200 for each in due),
        slow,
    )


def _at(ascending: Sequence[float], part: float) -> float:
    """So many of them are no more than that; 0: there are none."""
    return ascending[ceil(part * len(ascending)) - 1] if ascending else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def table(figures: AwayFigures) -> Table:
    """For a person."""
    title = f"{figures.per_second} requests a second, milliseconds to an answer"
    shown = Table(title=title, box=SIMPLE)
    shown.add_column("run")
    shown.add_column("service")
    for column in ("requests", "p50", "p99", "slowest", "p99 of its quarters", "failed"):
        shown.add_column(column, justify="right")
    shown.add_column(f"slower than {figures.slow_ms:.1f} ms, by second")
    for each in figures.phases:
        shown.add_row(
            each.run if each.phase == PHASES[0] else "",
            each.phase if each.run != RUNS[0] else PHASES[0],
            f"{each.requests:,}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.slowest_ms:.1f}",
            f"{each.least_p99_ms:.1f} to {each.most_p99_ms:.1f}",
            str(each.failed),
            " ".join(map(str, each.slow_by_second[:_SECONDS_SHOWN])),
        )
    return shown


def verdict(figures: AwayFigures) -> str:
    """Whether requests noticed, in a sentence."""
    worst = f"the {figures.worst_untouched_ms():.1f} ms that a quarter of a phase reached with the service untouched"
    beyond = figures.beyond_noise()
    if not beyond:
        return f"With the service away and back, the p99 stayed within {worst}."
    return f"Beyond {worst}: {', '.join(f'{each.phase} ({each.p99_ms:.1f} ms)' for each in beyond)}."
