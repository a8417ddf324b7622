"""Numbers as people read them."""

import math
from datetime import UTC, datetime
from typing import Final

NOTHING: Final = "–"
"""Where a number is not known."""

_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: float | None) -> str:
    """`12,345`, and from a million on `1.23 M`."""
    if number is None or not math.isfinite(number):
        return NOTHING
    return f"{number:,.0f}" if abs(number) < 1e6 else short(number)


def short(number: float | None) -> str:
    """Three digits and a unit: `12.3 k`."""
    if number is None or not math.isfinite(number):
        return NOTHING
    for size, unit in _UNITS:
        if abs(number) >= size * 0.9995:
            scaled = number / size
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:,.{digits}f} {unit}"
    return f"{number:,.0f}"


def usd(dollars: float | None) -> str:
    """Two digits after the point, of small sums two that are not zero: `$12.34`, `$0.0021`, `−$0.50`."""
    if dollars is None or not math.isfinite(dollars):
        return NOTHING
    sign, size = ("−" if dollars < 0 else ""), abs(dollars)
    if size < 5e-7:
        return "$0"
    if size >= 1e5:
        return f"{sign}${short(size)}"
    return f"{sign}${size:,.{max(2, 1 - math.floor(math.log10(size)))}f}"


def price(dollars: float) -> str:
    """Of a price list: all of its digits, up to six after the point, and at least two."""
    if not math.isfinite(dollars):
        return NOTHING
    whole, _, rest = f"{dollars:,.6f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def share(part: float | None, whole: float | None) -> str:
    """`62 %`; of nothing it is not known."""
    percent = 100 * (part / whole) if part is not None and whole else math.nan
    if not math.isfinite(percent):
        return NOTHING
    if 0 < percent < 1:
        return "<1 %"
    if 99 < percent < 100:
        return "99 %"
    return f"{percent:,.0f} %".replace("-", "−")


def seconds(s: float | None) -> str:
    """`420 ms`, `3.2 s`, `4 min 10 s`, `3 h 5 min`, `2 d 4 h`."""
    if s is None or not math.isfinite(s):
        return NOTHING
    if s < 0.9995:
        return f"{max(0.0, s) * 1000:.0f} ms"
    if s < 9.95:
        return f"{s:.1f} s"
    if s < 90:
        return f"{s:.0f} s"
    for size, unit, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if s >= size:
            rest = int(s % size // smaller)
            return f"{int(s // size):,} {unit}" + (f" {rest} {small}" if rest else "")
    return NOTHING


def size(number: float) -> str:
    """Of bytes: `12.3 MB`."""
    if not math.isfinite(number):
        return NOTHING
    return f"{short(number)}B" if number >= 1000 else f"{number:.0f} B"


def moment(time_s: float | None) -> datetime | None:
    """None also for what no calendar has."""
    if time_s is None:
        return None
    try:
        return datetime.fromtimestamp(time_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def iso(time_s: float | None) -> str:
    """`2026-11-30T21:00:05.123Z`, as programs read it."""
    at = moment(time_s)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def date_and_time(time_s: float | None) -> str:
    """`30 Nov 2026, 21:00:05`, in UTC."""
    at = moment(time_s)
    return f"{at.day} {at:%b %Y, %H:%M:%S}" if at else NOTHING


def clock(time_s: float | None, now_s: float) -> str:
    """`21:00:05` of the last hours, else `30 Nov 21:00`; in UTC."""
    at = moment(time_s)
    if at is None or time_s is None:
        return NOTHING
    return f"{at:%H:%M:%S}" if abs(now_s - time_s) < 12 * 3600 else f"{at.day} {at:%b %H:%M}"


def tick(time_s: float, span_s: float) -> str:
    """Below a chart: hours of a day, days of a month."""
    at = moment(time_s)
    if at is None:
        return NOTHING
    return f"{at:%H:%M}" if span_s <= 86_400 else f"{at.day} {at:%b}"


def step_name(begin_s: float, span_s: float) -> str:
    """When a step of a chart begins, as long as it has to be to be told from the others."""
    return tick(begin_s, span_s) if span_s <= 86_400 else f"{tick(begin_s, span_s)} {tick(begin_s, 0)}"


def ago(time_s: float | None, now_s: float) -> str:
    """`4 min 10 s ago`, `in 3 min`."""
    if time_s is None or not math.isfinite(time_s):
        return NOTHING
    apart = now_s - time_s
    if abs(apart) < 1:
        return "now"
    return f"{seconds(apart)} ago" if apart > 0 else f"in {seconds(-apart)}"
