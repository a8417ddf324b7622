"""Records as JSON objects, with the names of their fields: for programs that do not know their order."""

import msgspec

_JSON: msgspec.json.Encoder = msgspec.json.Encoder()


def as_object(value: object) -> object:
    """A struct as a dictionary by the names of its fields, with all that is in it; anything else as it is."""
    if isinstance(value, msgspec.Struct):
        return {field: as_object(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: as_object(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_object(each) for each in value]
    return value


def as_json(value: object) -> bytes:
    """The same, encoded."""
    return _JSON.encode(as_object(value))
