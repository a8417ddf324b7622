"""A price of a list that is not free is free at no length, at no hour and for no service tier."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.pricelists.samples import read, remarks_of

from limpet_operator.pricelists.listed import ListedModel, ListedRates

_FREE = {"input": 0, "output": 0}
_OFF = {"hours_utc": "16:30-00:30"}


def _models_dev(cost: dict[str, Any], **described: Any) -> Any:
    base = {"input": 1, "output": 2, "cache_read": 0.1}
    return {"p": {"models": {"m": {"cost": {**base, **cost}, **described}}}}


def _litellm(**fields: Any) -> Any:
    base = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7}
    return {"m": {"litellm_provider": "p", **base, **fields}}


def _mode(cost: dict[str, Any]) -> Any:
    return {"modes": {"flex": {"cost": cost, "provider": {"body": {"service_tier": "flex"}}}}}


def _zeros(suffix: str) -> dict[str, int]:
    return {f"input_cost_per_token{suffix}": 0, f"output_cost_per_token{suffix}": 0}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (_models_dev({"tiers": [{**_FREE, "tier": {"size": 1000}}]}), "above 1,000 tokens"),
        (_models_dev({"context_over_200k": _FREE}), "above 200,000 tokens"),
        (_models_dev({}, experimental=_mode(_FREE)), "service_tier flex"),
        (_models_dev({}, experimental=_mode({"input": 0.00001, "output": 0.00002})), "service_tier flex"),
        (_litellm(**_zeros("_above_200k_tokens")), "above 200,000 tokens"),
        (_litellm(**_zeros("_priority")), "service_tier priority"),
        (_litellm(tiered_pricing=[{"range": [1000, 2000], **_zeros("")}]), "above 1,000 tokens"),
        (_litellm(off_peak_pricing={**_OFF, **_zeros("")}), "off_peak_pricing"),
        (_litellm(off_peak_pricing={**_OFF, "input_cost_per_token": 0}), "off_peak_pricing: input costs nothing"),
    ],
)
def test_a_part_that_costs_nothing_is_left_out_and_said(document: Any, where: str) -> None:
    prices = read(document)
    model = prices.providers["p"]["m"]
    assert (model.tiers, model.hours, model.service_tiers) == ((), (), {})
    assert remarks_of(prices, "m")[0].startswith(where)


def test_a_cache_that_costs_nothing_off_peak_is_taken_as_at_other_hours() -> None:
    free = {"cache_read_input_token_cost": 0, "cache_creation_input_token_cost": 0}
    prices = read(_litellm(off_peak_pricing={**_OFF, **free, "input_cost_per_token": 5e-7}))
    (hours,) = prices.providers["p"]["m"].hours
    assert hours.rates == ListedRates(Decimal("0.5"), Decimal(2))
    assert "cache reads cost nothing in the list" in remarks_of(prices, "m")[0]


def test_a_write_for_an_hour_that_costs_nothing_costs_what_any_write_does() -> None:
    prices = read(_litellm(cache_creation_input_token_cost_above_1hr=0))
    assert prices.providers["p"]["m"].rates.cache_write_long is None


def _all_rates(model: ListedModel) -> list[ListedRates]:
    return [model.rates, *(tier.rates for tier in model.tiers), *(hours.rates for hours in model.hours)]


_DOLLARS = st.sampled_from([0, 1e-13, 1e-10, 1e-6, 0.3, 7])
_COST = st.fixed_dictionaries({"input": _DOLLARS, "output": _DOLLARS}, optional={"cache_read": _DOLLARS})


@given(_COST, _COST, _COST)
def test_what_costs_something_costs_something_always(base: Any, tier: Any, mode: Any) -> None:
    cost = {**base, "tiers": [{**tier, "tier": {"size": 1000}}]}
    prices = read({"p": {"models": {"m": {"cost": cost, "experimental": _mode(mode)}}}})
    for model in prices.providers.get("p", {}).values():
        assert all(model.service_tiers.values())
        for rates in _all_rates(model):
            assert rates.input > 0 or not base["input"]
            assert rates.output > 0 or not base["output"]
            assert rates.cache_read != 0 or not base["input"]
