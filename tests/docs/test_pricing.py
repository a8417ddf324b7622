"""The Pricing in docs/pricing.md is one, and costs what the page says."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from limpet_extproc.contract.price_windows import prices_at
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.pricing import Pricing

PAGE = Path(__file__).parents[2] / "docs" / "pricing.md"


@pytest.mark.parametrize(
    ("now", "window", "factor"),
    [("2026-11-20T12:00", "", 2 * 2), ("2026-11-20T15:00", "night", 2 * 2 * 0.5)],
)
def test_factors_multiply_each_other(now: str, window: str, factor: float) -> None:
    found = re.search(r"^```yaml\n(.+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    pricing = Parser.load().parse(yaml.safe_load(found[1]))
    assert isinstance(pricing, Pricing)
    (large,) = pricing.prices.values()
    held = prices_at(large.price, large.rules, datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp())
    assert held.window == window
    (long,) = held.tiers
    assert long.price.input * large.rules.service_tiers["priority"] == large.price.input * factor
    assert long.price.cache_read * large.rules.service_tiers["priority"] == large.price.cache_read * factor
