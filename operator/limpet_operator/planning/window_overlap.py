"""Which windows of a price list overlap, and which never hold because earlier ones cover them. Pure.

A week is a number of 10,080 bits, one a minute. Windows of different zones are compared at their offsets in January and
in July; in the hours around a change of clocks they may do otherwise.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Final

from limpet_extproc.contract.price_windows import zone_named
from limpet_operator.resources.model_prices import WindowSpec

_DAY: Final = 1440
_WEEK: Final = 7 * _DAY
_FULL: Final = (1 << _WEEK) - 1
_SEASONS: Final = (datetime(2026, 1, 15, 12), datetime(2026, 7, 15, 12))  # noqa: DTZ001 (the zone is that of a window)


def overlapping(windows: Sequence[WindowSpec]) -> list[tuple[str, str]]:
    """Names of those that hold at the same time for a model; the first of the two comes first in the list, and wins."""
    weeks = [_weeks(window) for window in windows]
    return [
        (windows[first].name, windows[later].name)
        for later in range(len(windows))
        for first in range(later)
        if _share_a_model(windows[first], windows[later])
        and any(one & other for one, other in zip(weeks[first], weeks[later], strict=True))
    ]


def covered(windows: Sequence[WindowSpec]) -> list[str]:
    """Names of those that hold for no model at any time."""
    weeks = [_weeks(window) for window in windows]
    names = []
    for later, window in enumerate(windows):
        earlier = [weeks[first] for first in range(later) if _concerns_all_of(windows[first], window)]
        left = [week & ~_union(each[season] for each in earlier) for season, week in enumerate(weeks[later])]
        if any(weeks[later]) and not any(left):
            names.append(window.name)
    return names


def _weeks(window: WindowSpec) -> tuple[int, ...]:
    """The minutes of a week, in UTC, at which it holds: in winter and in summer. None, if its zone is unknown."""
    zone = zone_named(window.zone)
    offsets = [zone.utcoffset(season) for season in _SEASONS] if zone is not None else []
    minutes = [round(offset.total_seconds() / 60) for offset in offsets if offset is not None]
    return tuple(_week(window, offset) for offset in minutes) or (0,) * len(_SEASONS)


def _week(window: WindowSpec, offset_minutes: int) -> int:
    length = (window.to_minute - window.from_minute - 1) % _DAY + 1
    starts = ((day * _DAY + window.from_minute - offset_minutes) % _WEEK for day in window.days)
    bits = _union(((1 << length) - 1) << start for start in starts)
    return (bits & _FULL) | (bits >> _WEEK)


def _union(sets: Iterable[int]) -> int:
    return reduce(or_, sets, 0)


def _share_a_model(one: WindowSpec, other: WindowSpec) -> bool:
    return one.models is None or other.models is None or not one.models.isdisjoint(other.models)


def _concerns_all_of(one: WindowSpec, other: WindowSpec) -> bool:
    return one.models is None or (other.models is not None and one.models >= other.models)
