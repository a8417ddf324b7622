"""`off_peak_pricing` of LiteLLM's list: hours of UTC, some on days of the week only.

`hours_utc` is one text such as "16:30-00:30" or several; "00:00-00:00" is the whole day. `windows` have them with
`weekdays`: numbers, Monday being 1, or names of days. A day is the one of the moment, so what goes on after midnight
belongs to the next.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from limpet_operator.pricelists.listed import DAYS, ListedHours, ListedRates, ModelRemarks

_HOURS: Final = re.compile(r"\s*([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)\s*")
_MIDNIGHT: Final = "00:00"
_NOON: Final = "12:00"


def off_peak_hours(block: object, rates: ListedRates, remarks: ModelRemarks) -> Iterator[ListedHours]:
    """The hours in which these rates hold; what can't be read is remarked, and then the usual price counts."""
    if block is None:
        return
    if not isinstance(block, dict):
        remarks.add("off_peak_pricing is no object: left out, so its usual prices count at all hours")
        return
    yield from _hours(block.get("hours_utc", ()), DAYS, rates, remarks)
    windows = block.get("windows", ())
    for window in windows if isinstance(windows, list) else ():
        days = _days(window.get("weekdays")) if isinstance(window, dict) else ()
        if not days or block.get("weekday_timezone", "UTC") not in ("UTC", "Etc/UTC"):
            remarks.add("off_peak_pricing has days that are not days of UTC: left out, so its usual prices count then")
            continue
        yield from _hours(window.get("hours_utc", ()), days, rates, remarks)


def _hours(texts: Any, days: tuple[str, ...], rates: ListedRates, remarks: ModelRemarks) -> Iterator[ListedHours]:
    for text in texts if isinstance(texts, list | tuple) else (texts,):
        read = _HOURS.fullmatch(text) if isinstance(text, str) else None
        if read is None:
            remarks.add("off_peak_pricing has hours that are none: left out, so its usual prices count then")
            continue
        start, end = f"{read[1]}:{read[2]}", f"{read[3]}:{read[4]}"
        for begin, finish in _parts(start, end, days):
            yield ListedHours(days, begin, finish, rates)


def _parts(start: str, end: str, days: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The same as hours of which none is the whole day, and none goes on into another day if these count."""
    if start == end:
        return ((_MIDNIGHT, _NOON), (_NOON, _MIDNIGHT)) if start == _MIDNIGHT else ()
    if start > end > _MIDNIGHT and days != DAYS:
        return (start, _MIDNIGHT), (_MIDNIGHT, end)
    return ((start, end),)


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
