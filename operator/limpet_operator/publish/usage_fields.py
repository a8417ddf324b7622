"""Where vendors say how many tokens an answer took: `usage_fields.yaml`, as Lua takes it."""

import json
from importlib.resources import files
from typing import Any, Final

import yaml

FIELDS: Final[dict[str, list[dict[str, Any]]]] = yaml.load(
    files(__package__).joinpath("usage_fields.yaml").read_bytes(), yaml.CSafeLoader
)
"""By the key of the noted usage: the places in which it may stand, each with its source."""


def places(field: dict[str, Any]) -> list[str]:
    """The paths whose numbers add up to the field."""
    at: str | list[str] = field["at"]
    return [at] if isinstance(at, str) else at


def lua_usage_fields() -> str:
    """The fields as a table of the Lua program of every attempt."""
    lines = [
        f"  {name} = {{ "
        + ", ".join("{ " + ", ".join(map(json.dumps, places(field))) + " }" for field in fields)
        + " },"
        for name, fields in FIELDS.items()
    ]
    return "local USAGE_FIELDS = {\n" + "\n".join(lines) + "\n}\n"
