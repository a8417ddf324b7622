"""A record as named fields, the same wherever one is written as JSON."""

from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from limpet_extproc.contract.activity import ActivityRecord

_UNKNOWN: Final = (None, "", ())


def record_fields(record: ActivityRecord) -> dict[str, object]:
    """The fields of a record under their own names, and `time` for people; what is not known is left out."""
    when = _when(record.time_s)
    return {**({"time": when} if when else {}), **_fields(record)}


def _fields(struct: Struct) -> dict[str, object]:
    named = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: _plain(value) for name, value in named if not any(value is it or value == it for it in _UNKNOWN)}


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_fields(each) if isinstance(each, Struct) else each for each in value]
    return value


def _when(time_s: float) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
