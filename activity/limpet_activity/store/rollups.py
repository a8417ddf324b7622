"""What records add up to, by combination and step of time, and which steps make up a span of time. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor
from operator import add
from typing import Final, NamedTuple, TypeVar

from limpet_activity.store.combinations import CombinationNumbers
from limpet_activity.store.facts import Counted

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400
GRAINS: Final = (DAY_S, HOUR_S, MINUTE_S)

MINUTES_KEPT_S: Final = 2 * DAY_S
"""Roll-ups by minute; of what is older, hours."""

_At = TypeVar("_At")


class Spot(NamedTuple):
    """A step of time, and the number of a combination."""

    combination: int
    grain: int
    begin: int


class Kept(NamedTuple):
    """Which roll-ups there are; Unix seconds, whole days."""

    minutes_from_s: int = 0
    """Those by minute, of coarser combinations."""
    days_until_s: int = 0
    """Those by day, of full combinations: `retention` makes them once the day is over, as most change all day long."""


def rolled_up(new: Iterable[tuple[CombinationNumbers, float, Counted]], kept: Kept) -> dict[Spot, list[float]]:
    """What new records add to each step, by combination, time and what they count."""
    by_minute: dict[tuple[CombinationNumbers, int], list[float]] = {}
    for combination, time_s, numbers in new:
        _add(by_minute, (combination, int(time_s // MINUTE_S) * MINUTE_S), numbers)
    found: dict[Spot, list[float]] = {}
    coarser_minutes: dict[tuple[int, int], list[float]] = {}
    for (combination, begin), minute in by_minute.items():
        day = begin - begin % DAY_S
        _add(found, Spot(combination.full, HOUR_S, begin - begin % HOUR_S), minute)
        if day < kept.days_until_s:
            _add(found, Spot(combination.full, DAY_S, day), minute)
        for coarser in combination.coarser:
            _add(coarser_minutes, (coarser, begin), minute)
    for (coarser, begin), minute in coarser_minutes.items():
        _add(found, Spot(coarser, HOUR_S, begin - begin % HOUR_S), minute)
        _add(found, Spot(coarser, DAY_S, begin - begin % DAY_S), minute)
        if begin >= kept.minutes_from_s:
            found[Spot(coarser, MINUTE_S, begin)] = minute
    return found


def _add(sums: dict[_At, list[float]], at: _At, numbers: Sequence[float]) -> None:
    known = sums.get(at)
    if known is None:
        sums[at] = list(numbers)
    else:
        known[:] = map(add, known, numbers)


class SpanPart(NamedTuple):
    """A part of a span of time, and what is to be read for it."""

    grain: int
    """Of roll-ups, seconds; 0: the records themselves."""
    begin_s: float
    end_s: float


LATEST_S: Final = float(2**40 // DAY_S * DAY_S)
"""After every record."""


def parts(
    since_s: float | None, until_s: float | None, step_s: int | None, kept: Kept, *, full: bool
) -> Iterator[SpanPart]:
    """Roll-ups and records that make up exactly this span, in order, none longer than `step_s` if that is given.

    `full`: of full combinations, else of coarser ones.
    """
    from_s, to_s = {}, {}
    if full:
        from_s[MINUTE_S], to_s[DAY_S] = LATEST_S, float(kept.days_until_s)
    else:
        from_s[MINUTE_S] = float(kept.minutes_from_s)
    grains = [
        (grain, from_s.get(grain, 0.0), to_s.get(grain, LATEST_S))
        for grain in GRAINS
        if step_s is None or step_s % grain == 0
    ]
    begin_s = 0.0 if since_s is None else max(0.0, since_s)
    end_s = LATEST_S if until_s is None else min(LATEST_S, until_s)
    return _parts(begin_s, end_s, grains)


def _parts(begin_s: float, end_s: float, grains: Sequence[tuple[int, float, float]]) -> Iterator[SpanPart]:
    if begin_s >= end_s:
        return
    if not grains:
        yield SpanPart(0, begin_s, end_s)
        return
    (grain, from_s, to_s), *finer = grains
    first = float(ceil(max(begin_s, from_s) / grain) * grain)
    after = float(floor(min(end_s, to_s) / grain) * grain)
    if first >= after:
        yield from _parts(begin_s, end_s, finer)
        return
    yield from _parts(begin_s, first, finer)
    yield SpanPart(grain, first, after)
    yield from _parts(after, end_s, finer)
