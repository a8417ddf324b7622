"""Which price of a model holds at an instant, and until when: what price windows mean, for both planes.

A window holds whenever the clocks of its zone show a time in it, as price lists are meant by their readers. So where
clocks jump ahead it begins with the jump if its first minutes are skipped, and where they are set back it holds twice
if its minutes come twice. Pure: the same instant always gives the same answer, so workers need no word from the
operator when a window turns.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from math import floor, inf
from typing import Final, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.prices import Price, PriceNow, PriceRules

_DAY_S: Final = 86_400
_LOOK_AHEAD_DAYS: Final = 15
"""Windows come back every week; one whose minutes are skipped when clocks jump ahead, a week later."""


class Hours(Protocol):
    """When a window holds; `PriceWindow` says what its fields mean."""

    @property
    def name(self) -> str:
        """Unique among the windows of a price list."""

    @property
    def zone(self) -> str:
        """Of the IANA database."""

    @property
    def days(self) -> Sequence[int]:
        """On which it begins."""

    @property
    def from_minute(self) -> int:
        """Of the day."""

    @property
    def to_minute(self) -> int:
        """Of the same day or the next."""


HoursT = TypeVar("HoursT", bound=Hours)


def price_at(model: Model, now_s: float) -> PriceNow | None:
    """The prices of a model at this Unix time; None: unknown."""
    return None if model.price is None else prices_at(model.price, model.price_rules, now_s)


def prices_at(usual: Price, rules: PriceRules, now_s: float) -> PriceNow:
    """What holds at this Unix time of a price and the rules that change it."""
    if not rules.windows:
        return PriceNow(usual, rules.tiers)
    window, until_s = window_at(rules.windows, now_s)
    if window is None:
        return PriceNow(usual, rules.tiers, until_s=until_s)
    return PriceNow(window.price, window.tiers, window.name, until_s)


def window_at(windows: Sequence[HoursT], now_s: float) -> tuple[HoursT | None, float]:
    """The first of these windows that holds at this Unix time, or None, and the Unix time at which that changes.

    Where nothing changes for two weeks, the latter is when to ask again. Takes a tenth of a millisecond. A
    window of a zone that this machine does not know never holds: the operator refuses what it does not know itself,
    and a worker with older time zones goes on with the usual prices.
    """
    zoned = [(window, zone) for window in windows if (zone := zone_named(window.zone)) is not None]
    now = _first(zoned, now_s)
    if not zoned:
        return None, inf
    today_s = floor(now_s / _DAY_S) * _DAY_S
    end_s = today_s + _LOOK_AHEAD_DAYS * _DAY_S
    for start_s in range(today_s, end_s, _DAY_S):
        for instant_s in sorted(set(_turns(zoned, start_s, start_s + _DAY_S))):
            if instant_s > now_s and _first(zoned, instant_s) is not now:
                return now, float(instant_s)
    return now, float(end_s)


def zone_named(name: str) -> ZoneInfo | None:
    """A time zone of the IANA database; None: there is none of this name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # A folder of zones, such as America, is an OSError.
        return None


def _first(zoned: Sequence[tuple[HoursT, tzinfo]], at_s: float) -> HoursT | None:
    clocks: dict[tzinfo, tuple[int, int]] = {}
    for window, zone in zoned:
        if (shown := clocks.get(zone)) is None:
            clock = datetime.fromtimestamp(at_s, zone)
            shown = clocks[zone] = clock.weekday(), clock.hour * 60 + clock.minute
        if _holds(window, *shown):
            return window
    return None


def _holds(window: Hours, day: int, minute: int) -> bool:
    if window.from_minute < window.to_minute:
        return window.from_minute <= minute < window.to_minute and day in window.days
    if minute >= window.from_minute:
        return day in window.days
    return minute < window.to_minute and (day - 1) % 7 in window.days


def _turns(zoned: Sequence[tuple[HoursT, tzinfo]], start_s: int, end_s: int) -> Iterator[int]:
    """All instants after `start_s`, up to `end_s`, at which a window may begin or end."""
    minutes: dict[tzinfo, set[int]] = {}
    for window, zone in zoned:
        minutes.setdefault(zone, set()).update((window.from_minute, window.to_minute))
    for zone, of_day in minutes.items():
        if (jump_s := _jump(zone, start_s, end_s)) is not None:
            yield jump_s
        first = datetime.fromtimestamp(start_s, zone).replace(hour=0, minute=0, second=0)
        last = datetime.fromtimestamp(end_s, zone).date()
        days = (last - first.date()).days
        for midnight in (first + timedelta(days=day) for day in range(days + 1)):
            for minute in of_day:
                clock = midnight.replace(hour=minute // 60, minute=minute % 60)
                for fold in (0, 1):  # Clocks that are set back show it twice.
                    instant_s = int(clock.replace(fold=fold).timestamp())
                    if start_s < instant_s <= end_s:
                        yield instant_s


def _jump(zone: tzinfo, start_s: int, end_s: int) -> int | None:
    """The instant after `start_s`, up to `end_s`, at which the zone's clocks are set otherwise."""

    def offset(at_s: int) -> timedelta | None:
        return datetime.fromtimestamp(at_s, zone).utcoffset()

    before = offset(start_s)
    if offset(end_s) == before:
        return None
    return start_s + 1 + bisect_left(range(start_s + 1, end_s), True, key=lambda at_s: offset(at_s) != before)
