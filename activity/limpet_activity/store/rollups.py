"""What records add up to, by kind and step of time, and which steps make up a span of time. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor
from typing import Final, NamedTuple

import msgspec

from limpet_activity.store.facts import sums_of
from limpet_activity.store.kinds import RecordKind, cuts
from limpet_extproc.contract.activity import ActivityRecord

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400
GRAINS: Final = (DAY_S, HOUR_S, MINUTE_S)

MINUTES_KEPT_S: Final = 2 * DAY_S
"""Roll-ups by minute; of what is older, hours."""

Counted = tuple[float, ...]
"""The numbers of `port.Sums`, in their order."""


class Spot(NamedTuple):
    """A step of time, and a kind."""

    kind: RecordKind
    grain: int
    begin: int


def counted(record: ActivityRecord) -> Counted:
    """What one record counts."""
    return msgspec.structs.astuple(sums_of((record,)))


class Kept(NamedTuple):
    """Which roll-ups there are; Unix seconds, whole days."""

    minutes_from_s: int = 0
    """Those by minute, of cuts."""
    days_until_s: int = 0
    """Those by day, of full kinds: `retention` makes them once the day is over, as most kinds change all day long."""


def rolled_up(new: Iterable[tuple[RecordKind, float, Counted]], kept: Kept) -> dict[Spot, list[float]]:
    """What new records add to each step, by kind, time and what they count."""
    by_minute: dict[Spot, list[float]] = {}
    for kind, time_s, numbers in new:
        _add(by_minute, Spot(kind, MINUTE_S, _begin(time_s, MINUTE_S)), numbers)
    found: dict[Spot, list[float]] = {}
    for spot, minute in by_minute.items():
        hour, day = spot.begin - spot.begin % HOUR_S, spot.begin - spot.begin % DAY_S
        _add(found, Spot(spot.kind, HOUR_S, hour), minute)
        if day < kept.days_until_s:
            _add(found, Spot(spot.kind, DAY_S, day), minute)
        for kind in cuts(spot.kind):
            _add(found, Spot(kind, HOUR_S, hour), minute)
            _add(found, Spot(kind, DAY_S, day), minute)
            if spot.begin >= kept.minutes_from_s:
                _add(found, Spot(kind, MINUTE_S, spot.begin), minute)
    return found


def _begin(time_s: float, grain: int) -> int:
    return int(time_s // grain) * grain


def _add(sums: dict[Spot, list[float]], spot: Spot, numbers: Sequence[float]) -> None:
    known = sums.get(spot)
    sums[spot] = list(numbers) if known is None else [one + other for one, other in zip(known, numbers, strict=True)]


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

    `full`: of full kinds, else of cuts.
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
