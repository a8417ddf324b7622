"""Records as JSON objects, with the names of their fields: for programs that do not know their order."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from limpet_extproc.contract.activity import ActivityRecord

_JSON: Final = msgspec.json.Encoder()


def as_object(value: object) -> object:
    """A struct as a dictionary by the names of its fields, with all that is in it; anything else as it is.

    A record has `time` before them, which is its `time_s` for people.
    """
    if isinstance(value, msgspec.Struct):
        fields = {field: as_object(getattr(value, field)) for field in value.__struct_fields__}
        return {"time": _when(value.time_s), **fields} if isinstance(value, ActivityRecord) else fields
    if isinstance(value, dict):
        return {name: as_object(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_object(each) for each in value]
    return value


def as_json(value: object) -> bytes:
    """The same, encoded."""
    return _JSON.encode(as_object(value))


def _when(time_s: float) -> str | None:
    """None: no calendar has that moment."""
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
