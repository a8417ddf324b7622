"""Who keeps a conversation by the price lists alone: never somebody whom the reckoning would have it leave."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import NextPrice, Price, PriceTier
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.totals import stays_and_leaves_usd
from limpet_extproc.decision.unbeaten import MARGIN
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.decision.worth import Outlook

USUAL = Price(1.0, 4.0, 0.1, 1.0)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({}, {"a", "b"}),
        ({"price": Price(0.96, 3.9, 0.096, 0.96)}, {"a", "b"}),  # not by as much as a move has to save
        ({"price": Price(0.9, 4.0, 0.1, 0.9)}, {"b"}),
        ({"price": Price(2.0, 4.0, 0.01, 2.0)}, set()),  # dearer to write, cheaper to read
        ({"price": Price(2.0, 4.0, 1.5, 1.0)}, {"a"}),  # costs more to read than to write
        ({"price": None}, {"a"}),
        ({"cache_ttl_s": 3600.0}, {"b"}),
        ({"price": Price(1.0, 4.0, 0.1, 1.25)}, {"a"}),
        ({"price": Price(1.25, 4.0, 0.1, 1.25), "caches": False}, {"a"}),
    ],
)
def test_who_is_undercut_by_nobody(make: Make, other: dict[str, Any], names: set[str]) -> None:
    lane = make.lane(make.provider("a", price=USUAL), make.provider("b", **{"price": USUAL, **other}))
    assert lane.unbeaten == names


@pytest.mark.parametrize(
    "fields", [{"tiers": (PriceTier(1_000, USUAL),)}, {"next_price": NextPrice(60.0, Price(0.1, 0.4, 0.01, 0.1))}]
)
def test_nobody_is_where_prices_depend_on_more(make: Make, fields: dict[str, Any]) -> None:
    lane = make.lane(make.provider("a", price=USUAL), make.provider("b", price=USUAL))
    first, second = lane.candidates
    assert not Lane.of(lane.model, (first, msgspec.structs.replace(second, **fields)), lane.policy).unbeaten


_FACTORS = st.sampled_from((1 - MARGIN, 0.97, 1.0, 1.04, 1.5, 4.0))
_PRICES = st.builds(
    lambda usd, output, read, written, factor: Price(usd * factor, output * factor, read * usd * factor, written * usd),
    st.sampled_from((0.0, 0.5, 1.0)),
    st.sampled_from((0.0, 2.0)),
    st.sampled_from((0.02, 0.1, 0.5, 1.0)),
    st.sampled_from((1.0, 1.25)),
    _FACTORS,
)
_PROVIDERS = st.fixed_dictionaries(
    {"price": _PRICES, "cache_ttl_s": st.sampled_from((60.0, 300.0)), "min_tokens": st.sampled_from((0, 1024))}
)


@given(
    providers=st.lists(_PROVIDERS, min_size=2, max_size=4),
    prompt_tokens=st.sampled_from((2_000, 20_000)),
    output_tokens=st.sampled_from((0, 400)),
    warm_share=st.floats(0, 1),
    again=st.floats(0.01, 0.995),
    gap_s=st.floats(0.01, 5_000),
    growth_tokens=st.floats(0, 5_000),
)
def test_it_saves_reckoning_and_changes_no_decision(
    make: Make,
    providers: list[dict[str, Any]],
    prompt_tokens: int,
    output_tokens: int,
    warm_share: float,
    again: float,
    gap_s: float,
    growth_tokens: float,
) -> None:
    lane = make.lane(*(make.provider(f"p{number}", **fields) for number, fields in enumerate(providers)))
    query = make.query(lane, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    outlook = Outlook(float(prompt_tokens), float(output_tokens), again, gap_s, growth_tokens)
    for name in lane.unbeaten:
        warmth = Warmth(prompt_tokens, {name: int(warm_share * prompt_tokens)}, own=True)
        usd = dict(zip(lane.by_provider, stays_and_leaves_usd(lane.candidates, query, warmth, outlook), strict=True))
        stays, leaves = usd.pop(name)
        for both in usd.values():
            assert min(both) >= min((1 - MARGIN) * stays, leaves) * (1 - 1e-9)
