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


def rolled_up(new: Iterable[tuple[RecordKind, float, Counted]]) -> dict[Spot, list[float]]:
    """What new records add to each step, by kind, time and what they count."""
    by_minute: dict[Spot, list[float]] = {}
    for kind, time_s, numbers in new:
        _add(by_minute, Spot(kind, MINUTE_S, _begin(time_s, MINUTE_S)), numbers)
    found: dict[Spot, list[float]] = {}
    for spot, minute in by_minute.items():
        for kind in (spot.kind, *cuts(spot.kind)):
            for grain in GRAINS:
                _add(found, Spot(kind, grain, spot.begin - spot.begin % grain), minute)
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
    since_s: float | None, until_s: float | None, step_s: int | None, minutes_from_s: float
) -> Iterator[SpanPart]:
    """Roll-ups and records that make up exactly this span, in order, none longer than `step_s` if that is given.

    There are roll-ups by minute from `minutes_from_s` on, and those by hour and day of all that is kept.
    """
    grains = [grain for grain in GRAINS if step_s is None or step_s % grain == 0]
    begin_s = 0.0 if since_s is None else max(0.0, since_s)
    end_s = LATEST_S if until_s is None else min(LATEST_S, until_s)
    return _parts(begin_s, end_s, grains, minutes_from_s)


def _parts(begin_s: float, end_s: float, grains: Sequence[int], minutes_from_s: float) -> Iterator[SpanPart]:
    if begin_s >= end_s:
        return
    if not grains:
        yield SpanPart(0, begin_s, end_s)
        return
    grain, *finer = grains
    from_s = max(begin_s, minutes_from_s) if grain == MINUTE_S else begin_s
    first, after = float(ceil(from_s / grain) * grain), float(floor(end_s / grain) * grain)
    if first >= after:
        yield from _parts(begin_s, end_s, finer, minutes_from_s)
        return
    yield from _parts(begin_s, first, finer, minutes_from_s)
    yield SpanPart(grain, first, after)
    yield from _parts(after, end_s, finer, minutes_from_s)
