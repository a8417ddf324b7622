"""What caching a request comes to: which prices count for it, for how long it is kept, and whether staying pays."""

from typing import Any

import msgspec
import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import CacheFields
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier
from limpet_extproc.decision.request_price import asked_ttl_s, cache_ttl_s, request_price, why_not_sticky

PRICE = Price(input=1.0, output=4.0, cache_read=0.1, cache_write=1.25)
CLAUDE = msgspec.structs.replace(PRICE, cache_write_long=2.0)
FREE_READS = Price(1.0, 4.0, 0.0, 1.0)
NO_DISCOUNT = Price(1.0, 4.0, 1.0, 1.0)
ONLY_MARKED = CacheFields(cache_control={"OpenAIChat": "Blocks"}, only_marked=True)
FREE_UNMARKED = CacheFields(cache_control={"OpenAIChat": "Blocks"}, free_unmarked=True)
RETENTION = CacheFields(retention=True)
DEARER_READS = PriceRules((PriceTier(5_000, NO_DISCOUNT),))


@pytest.mark.parametrize(
    ("caches", "min_tokens", "price", "tokens", "reason"),
    [
        (True, 0, PRICE, 1, None),
        (True, 1024, PRICE, 1024, None),
        (True, 1024, PRICE, 1023, "unsticky.below_minimum"),
        (False, 0, PRICE, 10_000, "unsticky.no_cache"),
        (True, 0, NO_DISCOUNT, 10_000, "unsticky.no_discount"),
        (True, 0, FREE_READS, 10_000, None),
        (True, 0, None, 10_000, None),  # unknown price: the gain is time
        (False, 0, None, 10_000, "unsticky.no_cache"),
        (True, 1024, None, 10, "unsticky.below_minimum"),
    ],
)
def test_staying_pays_only_where_the_cache_is_real_and_cheaper(
    make: Make, caches: bool, min_tokens: int, price: Price | None, tokens: int, reason: str | None
) -> None:
    lane = make.lane(make.provider("a", caches=caches, min_tokens=min_tokens, price=price))
    assert why_not_sticky(lane.candidates[0], make.query(lane, prompt_tokens=tokens)) == reason


@pytest.mark.parametrize(("tokens", "reason"), [(5_000, None), (5_001, "unsticky.no_discount")])
def test_what_is_no_cheaper_in_the_tier_of_a_long_prompt_is_no_reason_to_stay(
    make: Make, tokens: int, reason: str | None
) -> None:
    lane = make.lane(make.provider("a", price=PRICE, rules=DEARER_READS))
    assert why_not_sticky(lane.candidates[0], make.query(lane, prompt_tokens=tokens)) == reason


@pytest.mark.parametrize(
    ("provider", "query", "write"),
    [
        ({}, {}, 1.25),
        ({"caches": False}, {}, 1.0),
        ({"min_tokens": 4_001}, {}, 1.0),
        ({"cache_fields": ONLY_MARKED}, {}, 1.0),
        ({"cache_fields": ONLY_MARKED}, {"marked": True}, 1.25),
        ({"cache_fields": ONLY_MARKED}, {"marked": True, "marks_ttl_s": 300.0}, 1.25),
        ({"cache_fields": ONLY_MARKED}, {"marked": True, "marks_ttl_s": 3600.0}, 2.0),
        ({}, {"marked": True, "marks_ttl_s": 3600.0}, 1.25),  # it does not read that
        ({"cache_fields": FREE_UNMARKED}, {}, 1.0),
        ({"cache_fields": FREE_UNMARKED}, {"service_tier": "flex"}, 0.5),
        ({"cache_fields": FREE_UNMARKED}, {"marked": True}, 1.25),
        ({"cache_fields": FREE_UNMARKED, "prompt_caching": "Auto"}, {"has_history": True}, 1.25),
        ({"cache_fields": RETENTION}, {"retention_ttl_s": 43_200.0}, 2.0),
        ({}, {"retention_ttl_s": 43_200.0}, 1.25),
        ({}, {"service_tier": "flex"}, 0.625),
        ({}, {"service_tier": "standard_only"}, 1.25),
        ({"price": None}, {"service_tier": "flex"}, None),
        ({"price": FREE_READS, "rules": PriceRules()}, {"marked": True}, 1.0),
    ],
)
def test_a_token_that_is_not_read_costs_what_it_is_to_this_request(
    make: Make, provider: dict[str, Any], query: dict[str, Any], write: float | None
) -> None:
    given = {"price": CLAUDE, "rules": PriceRules(service_tiers={"flex": 0.5})} | provider
    lane = make.lane(make.provider("a", **given))
    price = request_price(lane.candidates[0], msgspec.structs.replace(make.query(lane), **query))
    assert (None if price is None else price.cache_write) == write


@pytest.mark.parametrize(
    ("fields", "marks_s", "retention_s", "asked_s"),
    [
        (CacheFields(), None, None, None),
        (CacheFields(), 3600.0, 86_400.0, None),
        (ONLY_MARKED, 3600.0, 86_400.0, 3600.0),
        (RETENTION, 3600.0, 86_400.0, 86_400.0),
        (CacheFields(cache_control={"OpenAIChat": "Blocks"}, retention=True), 3600.0, 300.0, 300.0),
        (CacheFields(cache_control={"OpenAIChat": "Blocks"}, retention=True), 3600.0, None, 3600.0),
    ],
)
def test_a_request_is_kept_for_what_the_provider_reads_of_its_wishes(
    make: Make, fields: CacheFields, marks_s: float | None, retention_s: float | None, asked_s: float | None
) -> None:
    lane = make.lane(make.provider("a", cache_fields=fields, cache_ttl_s=77.0))
    asked = msgspec.structs.replace(make.query(lane), marks_ttl_s=marks_s, retention_ttl_s=retention_s)
    assert asked_ttl_s(lane.candidates[0], asked) == asked_s
    assert cache_ttl_s(lane.candidates[0], asked) == (asked_s or 77.0)
