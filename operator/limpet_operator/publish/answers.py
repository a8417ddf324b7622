"""By which words the errors of a vendor say more than their status: `answers.yaml`, as the clusters' Lua takes it."""

import json
from importlib.resources import files
from typing import Any, Final

import yaml

RULES: Final[list[dict[str, Any]]] = yaml.load(
    files(__package__).joinpath("answers.yaml").read_bytes(), yaml.CSafeLoader
)
"""In the order in which they count: statuses, words in lower case, the cause and, unless it holds for all, vendors."""


def _lua(rule: dict[str, Any]) -> str:
    vendors = ", ".join(f"[{json.dumps(vendor)}] = true" for vendor in rule.get("vendors", ()))
    fields = {
        "status": json.dumps(" ".join(map(str, rule["status"]))),
        "find": json.dumps(rule["find"]),
        "cause": json.dumps(rule["cause"]),
        **({"vendors": f"{{ {vendors} }}"} if vendors else {}),
    }
    return "{ " + ", ".join(f"{key} = {value}" for key, value in fields.items()) + " }"


def lua_rules() -> str:
    """The rules as the beginning of the Lua program of every attempt."""
    return "local RULES = {\n  " + ",\n  ".join(map(_lua, RULES)) + "\n}\n"
