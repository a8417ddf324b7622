"""Prices that are allowed and seldom meant are said where a Pricing is accepted."""

from typing import Any

import pytest
from tests.operator.conftest import Build

_USD = {"input": "1", "cacheRead": "0.1", "output": "2"}
_FREE = {"input": "0", "output": "0"}
_AT_TIMES = "flash costs nothing in a window, for a long prompt or for a service tier"
_HOURS = {"name": "night", "from": "01:00", "to": "02:00"}


@pytest.mark.parametrize(
    ("model", "windows", "said"),
    [
        ({}, [], ""),
        ({"perMillionTokens": _FREE}, [{**_HOURS, "factor": "2"}], ""),
        ({"serviceTiers": [{"name": "flex", "factor": "0"}]}, [], _AT_TIMES),
        ({"longContext": [{"aboveTokens": 5, "factor": "0"}]}, [], _AT_TIMES),
        ({}, [{**_HOURS, "factor": "0"}], _AT_TIMES),
        ({}, [{**_HOURS, "models": [{"name": "flash", "perMillionTokens": _FREE}]}], _AT_TIMES),
        ({"perMillionTokens": _USD | {"cacheRead": "3"}}, [], "flash costs more from the cache than without it"),
    ],
)
def test_what_is_seldom_meant_is_said(build: Build, model: dict[str, Any], windows: list[Any], said: str) -> None:
    pricing = build.raw("Pricing", models=[{"name": "flash", "perMillionTokens": _USD} | model], windows=windows)
    accepted = build.plan(build.raw("Provider"), pricing).findings[build.key("Pricing")].accepted
    assert accepted.ok
    assert accepted.message == (f"used as written; {said}" if said else "used as written")
