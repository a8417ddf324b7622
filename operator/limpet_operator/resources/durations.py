"""How durations are written: `250ms`, `30s`, `5m`, `1h30m`, as in Go and in Gateway API."""

import re
from typing import Final

_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError for text that is not whole numbers with units."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; write one such as 250ms, 30s, 5m or 1h30m")
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in parts) / 1000


def format_duration(seconds: float) -> str:
    """The shortest way to write a positive number of seconds; `parse_duration` gives it back to the millisecond."""
    remaining = round(seconds * 1000)
    text = ""
    for unit in ("h", "m", "s", "ms"):
        count, remaining = divmod(remaining, _MILLISECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"
