"""Which price of a model holds at an instant, and until when: what price windows mean, for both planes.

A window holds whenever the clocks of its zone show a time in it, as price lists are meant by their readers. So where
clocks jump ahead it begins with the jump if its first minutes are skipped, and where they are set back it holds twice
if its minutes come twice. Pure: the same instant always gives the same answer, so workers need no word from the
operator when a window turns.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from math import floor, inf
from typing import Final, NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.prices import Price, PriceNow, PriceRules

_DAY_S: Final = 86_400
_OF_THE_MACHINE: Final = ("localtime", "posixrules", "Factory")
"""Files beside those of the IANA database, where a machine has them."""
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

    Where nothing changes for two weeks, the latter is when to ask again. A window of a zone that this machine does not
    know never holds: the operator refuses what it does not know itself, and a worker with older time zones goes on with
    the usual prices. Takes a fifth of a millisecond for each window once a day, and microseconds after that.
    """
    hours = tuple(_Hours(each.zone, tuple(each.days), each.from_minute, each.to_minute) for each in windows)
    number, until_s = _first_and_turn(hours, now_s)
    return None if number is None else windows[number], until_s


class _Hours(NamedTuple):
    zone: str
    days: tuple[int, ...]
    from_minute: int
    to_minute: int


class _Day(NamedTuple):
    """A day of UTC, of one window."""

    holds: bool
    """At its start."""
    turns: tuple[int, ...]
    """The instants after that, up to its end, at which it begins to hold or ends."""

    def holds_at(self, at_s: float) -> bool:
        return self.holds != bool(bisect_right(self.turns, at_s) % 2)


@lru_cache(maxsize=64)
def _first_and_turn(hours: tuple[_Hours, ...], now_s: float) -> tuple[int | None, float]:
    """The place of the first that holds, and when that changes. Kept, as all models of a price list turn together."""
    today_s = floor(now_s / _DAY_S) * _DAY_S
    days = [_day(each, today_s) for each in hours]
    if days.count(None) == len(days):
        return None, inf
    now = _first(days, now_s)
    end_s = today_s + _LOOK_AHEAD_DAYS * _DAY_S
    for start_s in range(today_s, end_s, _DAY_S):
        days = [_day(each, start_s) for each in hours]
        before = days if now is None else days[: now + 1]  # Those behind it change nothing while it holds.
        for instant_s in sorted({turn_s for day in before if day is not None for turn_s in day.turns}):
            if instant_s > now_s and _first(days, instant_s) != now:
                return now, float(instant_s)
    return now, float(end_s)


@lru_cache(maxsize=4096)
def _day(hours: _Hours, start_s: int) -> _Day | None:
    """The day from this instant on; None: its zone is unknown. Kept, as the models of a list share its windows."""
    zone = zone_named(hours.zone)
    if zone is None:
        return None
    holds = holds_now = _holds(hours, zone, start_s)
    turns = []
    for instant_s in sorted(set(_instants(hours, zone, start_s, start_s + _DAY_S))):
        if _holds(hours, zone, instant_s) != holds_now:
            holds_now = not holds_now
            turns.append(instant_s)
    return _Day(holds, tuple(turns))


def zone_named(name: str) -> ZoneInfo | None:
    """A time zone of the IANA database; None: there is none of this name, or it is another on each machine."""
    if name in _OF_THE_MACHINE:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # A folder of zones, such as America, is an OSError.
        return None


def _first(days: Sequence[_Day | None], at_s: float) -> int | None:
    return next((place for place, day in enumerate(days) if day is not None and day.holds_at(at_s)), None)


def _holds(hours: _Hours, zone: tzinfo, at_s: float) -> bool:
    clock = datetime.fromtimestamp(at_s, zone)
    day, minute = clock.weekday(), clock.hour * 60 + clock.minute
    if hours.from_minute < hours.to_minute:
        return hours.from_minute <= minute < hours.to_minute and day in hours.days
    if minute >= hours.from_minute:
        return day in hours.days
    return minute < hours.to_minute and (day - 1) % 7 in hours.days


def _instants(hours: _Hours, zone: tzinfo, start_s: int, end_s: int) -> Iterator[int]:
    """All instants after `start_s`, up to `end_s`, at which the window may begin or end."""
    if (jump_s := _jump(zone, start_s, end_s)) is not None:
        yield jump_s
    first = datetime.fromtimestamp(start_s, zone).replace(hour=0, minute=0, second=0)
    last = datetime.fromtimestamp(end_s, zone).date()
    days = (last - first.date()).days
    for midnight in (first + timedelta(days=day) for day in range(days + 1)):
        for minute in (hours.from_minute, hours.to_minute):
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
