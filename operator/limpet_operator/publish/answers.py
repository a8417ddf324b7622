"""By which words the errors of a vendor say more than their status: `answers.yaml`, as its clusters' Lua takes it."""

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import yaml

from limpet_operator.publish.encode import Json

ANSWER_LUA: Final = files(__package__).joinpath("answer.lua").read_text()


@lru_cache(maxsize=64)
def answer_rules(vendor: str) -> list[Json]:
    """Status codes as one string, words in lower case, and the cause, in the order in which they count."""
    return [
        {"status": " ".join(map(str, rule["status"])), "find": rule["find"], "cause": rule["cause"]}
        for rule in _RULES
        if vendor in rule.get("vendors", (vendor,))
    ]


_RULES: Final[list[dict[str, Any]]] = yaml.load(
    files(__package__).joinpath("answers.yaml").read_bytes(), yaml.CSafeLoader
)
