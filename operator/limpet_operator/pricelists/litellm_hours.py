"""`off_peak_pricing` of LiteLLM's list: hours of UTC, some on days of the week only.

`hours_utc` is one text such as "16:30-00:30" or several; "00:00-00:00" is the whole day. `windows` have them with
`weekdays`: numbers, Monday being 1, or names of days, by the clocks of `weekday_timezone`. A day is the one of the
moment, so what goes on after midnight belongs to the next.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from limpet_extproc.contract.price_windows import zone_named
from limpet_operator.pricelists.listed import ListedHours, ListedRates, ModelRemarks
from limpet_operator.resources.model_prices import DAYS

_HOURS: Final = re.compile(r"\s*([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)\s*")
_UTC: Final = "UTC"
_DAY: Final = 1440
_SEASONS: Final = (datetime(2026, 1, 15), datetime(2026, 7, 15))  # noqa: DTZ001 (the zone is that of the days)


def off_peak_hours(block: object, rates: ListedRates | None, remarks: ModelRemarks) -> Iterator[ListedHours]:
    """The hours in which these rates hold; what can't be read is remarked, and then the usual price counts.

    None: the rates could not be read, which has been remarked.
    """
    if block is None or rates is None:
        return
    if not isinstance(block, dict):
        remarks.add("off_peak_pricing is no object: left out, so its usual prices count at all hours")
        return
    yield from _hours(block.get("hours_utc", ()), DAYS, _UTC, 0, rates, remarks)
    zone = str(block.get("weekday_timezone", _UTC))
    offset = _offset_minutes(zone)
    windows = block.get("windows", ())
    for window in windows if isinstance(windows, list) else ():
        days = _days(window.get("weekdays")) if isinstance(window, dict) else ()
        if not days or offset is None:
            remarks.add("off_peak_pricing has days that a Pricing can't have: left out, so its usual prices count then")
            continue
        yield from _hours(window.get("hours_utc", ()), days, zone, offset, rates, remarks)


def _hours(
    texts: Any, days: tuple[str, ...], zone: str, offset: int, rates: ListedRates, remarks: ModelRemarks
) -> Iterator[ListedHours]:
    for text in texts if isinstance(texts, list | tuple) else (texts,):
        read = _HOURS.fullmatch(text) if isinstance(text, str) else None
        start, end = ((int(read[at]) * 60 + int(read[at + 1])) for at in (1, 3)) if read else (1, 1)
        if start == end > 0:
            remarks.add("off_peak_pricing has hours that are none: left out, so its usual prices count then")
            continue
        for begin, finish in _parts(start, end, offset, days):
            yield ListedHours(days, _clock(begin), _clock(finish), rates, zone)


def _parts(start: int, end: int, offset: int, days: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """The same minutes by the clocks of the days, none of them a whole day, and none in two days if these count."""
    if start == end:  # from midnight to midnight, which is no window of a Pricing
        yield from ((0, _DAY // 2), (_DAY // 2, 0))
        return
    begin, finish = (start + offset) % _DAY, (end + offset) % _DAY
    if begin > finish > 0 and days != DAYS:
        yield from ((begin, 0), (0, finish))
    else:
        yield begin, finish


def _offset_minutes(zone: str) -> int | None:
    """By which the clocks of the zone differ from UTC; None: not always by the same, or there is no such zone."""
    known = zone_named(zone)
    offsets = {known.utcoffset(season) for season in _SEASONS} if known is not None else set()
    offset = offsets.pop() if len(offsets) == 1 else None
    return None if offset is None else round(offset.total_seconds() / 60)


def _days(weekdays: object) -> tuple[str, ...]:
    """As a Pricing has them; none if any is no day."""
    if weekdays is None:
        return DAYS
    found = {_day(each) for each in weekdays} if isinstance(weekdays, list) else {None}
    return () if None in found else tuple(day for day in DAYS if day in found)


def _day(value: object) -> str | None:
    if isinstance(value, str):
        return next((day for day in DAYS if value[:3].capitalize() == day), None)
    whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(DAYS)
    return DAYS[value - 1] if whole and isinstance(value, int) else None


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
