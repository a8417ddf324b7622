"""One odd model of a list spoils no Pricing: what the CRD does not take is left out, with a remark."""

from typing import Any

import pytest
from tests.operator.conftest import Build
from tests.operator.pricelists.samples import read, remarks_of

from limpet_operator.pricelists.pricing import pricing_of
from limpet_operator.pricelists.reading import read_list
from limpet_operator.resources.pricing import Pricing
from limpet_operator.sources.readable_yaml import readable_yaml
from limpet_operator.sources.yaml_text import read_yaml

_COST = {"input": 1, "output": 2}


def _tiers(*sizes: float) -> dict[str, Any]:
    return {"cost": {**_COST, "tiers": [{"input": 2, "output": 4, "tier": {"size": size}} for size in sizes]}}


def _modes(*names: str) -> dict[str, Any]:
    doubled = {"input": 2, "output": 4}
    modes = {name: {"cost": doubled, "provider": {"body": {"service_tier": name}}} for name in names}
    return {"cost": _COST, "experimental": {"modes": modes}}


@pytest.mark.parametrize(
    ("name", "odd", "remark"),
    [
        ("m", _tiers(5, 4, 3, 2, 1), "has 5 tiers, and a Pricing takes 4: left out are those of longer prompts"),
        ("m", _tiers(1e12), "a tier that is no length of a prompt"),
        ("m", _tiers(1e40), "a tier that is no length of a prompt"),
        ("m", {"cost": {**_COST, "tiers": {}}}, "its tiers are no list"),
        ("m", _modes(*(f"t{number}" for number in range(17))), "has 17 service tiers, and a Pricing takes 16"),
        ("m", _modes("x" * 65), "a service_tier whose name is too long"),
        ("", {"cost": _COST}, "its name is empty"),
        ("m" * 257, {"cost": _COST}, "its name is empty, longer than 256 or can't be written: left out"),
        ("\ud800", {"cost": _COST}, "its name is empty, longer"),
        ("\x1b[31mred", {"cost": _COST}, "its name is empty, longer"),
    ],
)
def test_what_a_pricing_does_not_take_is_left_out(build: Build, name: str, odd: Any, remark: str) -> None:
    prices = read({"p": {"models": {name: odd, "good": {"cost": _COST}}}})
    assert remarks_of(prices, name)[0].startswith(remark)
    written = readable_yaml([pricing_of("p", "default", prices.providers["p"], "models.dev", "2026-11-21")])
    parsed = build.parser.parse(read_yaml(written))
    assert isinstance(parsed, Pricing), parsed
    assert parsed.prices.keys() == ({"good", "m"} if name == "m" else {"good"})


@pytest.mark.parametrize(
    ("field", "remark"),
    [
        (f"input_cost_per_token_above_{'9' * 5000}k_tokens", "a Pricing has no such price"),
        ("input_cost_per_token_above_999999999k_tokens", "above 999,999,999,000 tokens: no prompt is as long"),
        ("tiered_pricing", "tiered_pricing is no list"),
    ],
)
def test_a_length_that_no_prompt_has(field: str, remark: str) -> None:
    model = {"litellm_provider": "p", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, field: 1e-6}
    prices = read({"m": model})
    assert prices.providers["p"]["m"].tiers == ()
    assert remarks_of(prices, "m")[0].startswith(remark)


def test_modes_that_stand_there_twice_are_said() -> None:
    mode = '{"cost": {"input": %d, "output": 4}, "provider": {"body": {"service_tier": "flex"}}}'
    modes = f'{{"flex": {mode % 2}, "flex": {mode % 3}}}'
    text = (
        f'{{"p": {{"models": {{"m": {{"cost": {{"input": 1, "output": 2}}, "experimental": {{"modes": {modes}}}}}}}}}}}'
    )
    prices = read_list(text.encode())
    assert prices.providers["p"]["m"].service_tiers == {}
    assert remarks_of(prices, "m") == ["something of its modes stands in the list twice and not alike: left out"]
