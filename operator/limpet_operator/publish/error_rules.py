"""The words by which a vendor's errors say more than their status: `error_rules.yaml`, as Lua takes it."""

import json
from importlib.resources import files
from typing import Any, Final

import yaml

RULES: Final[list[dict[str, Any]]] = yaml.load(
    files(__package__).joinpath("error_rules.yaml").read_bytes(), yaml.CSafeLoader
)
"""The first that applies wins. Each has statuses, words in lower case, a cause and, unless for all, vendors;
`whole` if the words have to be the whole of a value."""


def _lua(rule: dict[str, Any]) -> str:
    vendors = ", ".join(f"[{json.dumps(vendor)}] = true" for vendor in rule.get("vendors", ()))
    fields = {
        "status": json.dumps(" ".join(map(str, rule["status"]))),
        "find": json.dumps(rule["find"]),
        "cause": json.dumps(rule["cause"]),
        **({"whole": "true"} if rule.get("whole") else {}),
        **({"vendors": f"{{ {vendors} }}"} if vendors else {}),
    }
    return "{ " + ", ".join(f"{key} = {value}" for key, value in fields.items()) + " }"


def lua_rules() -> str:
    """The rules as the beginning of the Lua program of every attempt."""
    return "local RULES = {\n  " + ",\n  ".join(map(_lua, RULES)) + "\n}\n"
