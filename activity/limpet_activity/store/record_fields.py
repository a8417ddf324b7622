"""A record as named fields without what is not known, for log shippers; `objects` is for the page's JSON."""

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from limpet_extproc.contract.activity import ActivityRecord

_NUMBERS: Final = (int, float)
"""Bool among them: zero and False are known."""


def record_fields(record: ActivityRecord) -> dict[str, object]:
    """The fields of a record under their own names, and `time` for people; what is not known is left out."""
    when = _when(record.time_s)
    return {"time": when, **_fields(record)} if when else _fields(record)


def _fields(struct: Struct) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, (list, tuple)):
            if value:
                found[name] = [_fields(each) if isinstance(each, Struct) else each for each in value]
        elif value or isinstance(value, _NUMBERS):
            found[name] = value
    return found


def _when(time_s: float) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
