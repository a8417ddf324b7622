"""What an answered request cost, and what other rules would have paid for it."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import CacheFields
from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import CacheEvidence, Record, TurnsBefore
from limpet_extproc.decision.bills import RequestBill, SharedPrompt, bill, paid_usd, spread_warm_tokens
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.envoy.usage import TokenUsage

OPEN = Price(input=1.0, output=4.0, cache_read=0.1, cache_write=1.0)
MARKED = Price(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75, cache_write_long=6.0)

_USD = st.floats(0.01, 20.0)


def record(**fields: Any) -> Record:
    """Of a later turn at `a`, whose cache is warm."""
    usual: dict[str, Any] = {
        "key": b"k",
        "model": "m",
        "identified_by": "fingerprint",
        "reason": "sticky.hit",
        "enforce_reason": None,
        "order": ("a", "b"),
        "ttls_s": (300.0, 300.0),
        "started_s": 1_000.0,
        "prompt_tokens": 10_000,
        "max_providers": 4,
        "learn": True,
        "cache": CacheEvidence(expected=(9_000, 0), before="a", before_tokens=9_000),
        "before": TurnsBefore(turns=3, last_gap_s=60.0, gap_s=60.0, growth_tokens=1_000.0),
    }
    return Record(**{**usual, **fields})


def two(make: Make, **policy: Any) -> Lane:
    return make.lane(make.provider("a", price=OPEN), make.provider("b", price=OPEN), **policy)


@pytest.mark.parametrize(
    ("tokens", "usd"),
    [
        (TokenUsage(1_000_000, 0, 0), 3.0),
        (TokenUsage(1_000_000, 1_000_000, 0), 0.3),
        (TokenUsage(1_000_000, 400_000, 0, written=500_000), 0.1 * 3.0 + 0.4 * 0.3 + 0.5 * 3.75),
        (TokenUsage(1_000_000, 0, 0, written=1_000_000, written_long=400_000), 0.6 * 3.75 + 0.4 * 6.0),
        (TokenUsage(0, 0, 1_000_000), 15.0),
        (TokenUsage(1_000_000, None, 0), 3.0),  # what was read is not known, and so nothing of it is cheaper
    ],
)
def test_each_part_of_a_prompt_has_its_price(tokens: TokenUsage, usd: float) -> None:
    assert paid_usd(MARKED, tokens) == pytest.approx(usd)


def test_unknown_price_is_not_free(make: Make) -> None:
    lane = make.lane(make.provider("a", price=None), make.provider("b", price=OPEN))
    assert bill(lane, "a", record(), TokenUsage(10_000, 9_000, 100)) is None


def test_provider_that_has_left_the_catalog_has_no_price(make: Make) -> None:
    assert bill(two(make), "gone", record(), TokenUsage(10_000, 9_000, 100)) is None


def test_what_was_read_but_not_reported_is_no_saving(make: Make) -> None:
    found = bill(two(make), "a", record(), TokenUsage(10_000, None, 100))
    assert found is not None
    assert found.cache_unreported
    assert found.paid_usd == found.uncached_usd == found.spread_usd == found.cheapest_usd


def test_spreading_costs_what_the_other_half_of_turns_would_not_find(make: Make) -> None:
    found = bill(two(make), "a", record(before=TurnsBefore(1, 60.0, 0.0)), TokenUsage(10_000, 9_000, 0))
    assert found is not None
    warm, cold = 0.0019, 0.01
    assert found.paid_usd == pytest.approx(warm)
    assert found.spread_usd == pytest.approx((warm + cold) / 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": "off.spread"},
        {"reason": "observe.spread"},
        {"reason": "bypass.order"},
        {"reason": "pinned.object"},
        {"kind": "stateless", "reason": "stateless.spread"},
    ],
)
def test_request_that_was_not_kept_together_saves_nothing_by_it(make: Make, fields: dict[str, Any]) -> None:
    found = bill(two(make), "a", record(**fields), TokenUsage(10_000, 0, 100))
    assert found is not None
    assert found.spread_usd == found.paid_usd


def test_head_that_others_keep_warm_is_warm_wherever_a_turn_goes(make: Make) -> None:
    whole = record(before=TurnsBefore(3, 60.0, 60.0, 0.0, head_tokens=9_000))
    found = bill(two(make), "a", whole, TokenUsage(10_000, 9_000, 100))
    assert found is not None
    assert found.spread_usd == pytest.approx(found.paid_usd)


def test_what_a_first_turn_reads_is_such_a_head(make: Make) -> None:
    first = record(reason="first.scored", before=TurnsBefore(), cache=CacheEvidence())
    found = bill(two(make), "a", first, TokenUsage(10_000, 9_000, 100))
    assert found is not None
    assert found.spread_usd == pytest.approx(found.paid_usd)


def test_conversation_that_moved_could_have_read_what_it_left_behind(make: Make) -> None:
    moved = record(order=("b", "a"), cache=CacheEvidence((0, 9_000), "a", 9_000))
    found = bill(two(make), "b", moved, TokenUsage(10_000, 0, 0))
    assert found is not None
    assert found.paid_usd == pytest.approx(0.01)
    assert found.spread_usd < found.paid_usd


def test_the_cheapest_reads_its_own_cache_while_that_lives(make: Make) -> None:
    cheap = Price(0.5, 4.0, 0.4, 0.5)
    lane = make.lane(make.provider("a", price=OPEN), make.provider("b", price=cheap))
    tokens = TokenUsage(10_000, 9_000, 0)
    found = bill(lane, "a", record(), tokens)
    assert found is not None
    assert found.cheapest_usd == pytest.approx((1_000 * 0.5 + 9_000 * 0.4) / 1e6)
    late = bill(lane, "a", record(before=TurnsBefore(3, 301.0, 60.0)), tokens)
    assert late is not None
    assert late.cheapest_usd == pytest.approx(0.005)


def test_provider_that_was_passed_over_is_not_the_cheapest(make: Make) -> None:
    cheap = Price(0.1, 1.0, 0.01, 0.1)
    lane = make.lane(make.provider("a", price=OPEN), make.provider("b", price=cheap))
    found = bill(lane, "a", record(order=("a",), ttls_s=(300.0,), excluded={"b": "down"}), TokenUsage(10_000, 9_000, 0))
    assert found is not None
    assert found.cheapest_usd == pytest.approx(found.paid_usd)


@pytest.mark.parametrize(
    ("only_marked", "cached", "written", "write_price"),
    [
        (False, 0, None, 3.0),  # nothing shows a mark
        (False, 0, 0, 3.0),
        (False, 0, 10_000, 3.75),
        (True, 8_000, 0, 3.75),  # read where nothing but marked prompts is cached
        (True, 8_000, 1_000, 3.75),
    ],
)
def test_where_marked_prompts_alone_are_charged_for_writes_only_those_are(
    make: Make, only_marked: bool, cached: int, written: int | None, write_price: float
) -> None:
    here = CacheFields({"OpenAIChat": "Blocks"}, only_marked=only_marked)
    free = CacheFields({"OpenAIChat": "Blocks"}, free_unmarked=True)
    dear = Price(9.0, 15.0, 9.0, 11.0)
    lane = make.lane(
        make.provider("a", price=dear, cache_fields=here), make.provider("b", price=MARKED, cache_fields=free)
    )
    late = record(before=TurnsBefore(3, last_gap_s=900.0, gap_s=60.0))  # nothing is warm at b any more
    found = bill(lane, "a", late, TokenUsage(10_000, cached, 0, written=written))
    assert found is not None
    rest = 10_000 - cached - written if written is not None else 0
    assert found.cheapest_usd == pytest.approx(((10_000 - rest) * write_price + rest * 3.0) / 1e6)


def test_part_behind_the_last_mark_is_written_nowhere(make: Make) -> None:
    lane = make.lane(make.provider("a", price=MARKED), make.provider("b", price=MARKED))
    one = record(before=TurnsBefore(1, 60.0, 0.0))
    found = bill(lane, "a", one, TokenUsage(10_000, 8_000, 0, written=1_000))
    assert found is not None
    cold = (9_000 * 3.75 + 1_000 * 3.0) / 1e6
    assert found.spread_usd == pytest.approx((found.paid_usd + cold) / 2)


def _by_all_histories(common: SharedPrompt, share: float, lifetime_s: float) -> float:
    """The same expectation over every way in which the turns may have gone here (1) or elsewhere (0), newest first."""
    total = 0.0
    for history in product((0, 1), repeat=common.turns):
        chance = 1.0
        for here in history:
            chance *= share if here else 1 - share
        ago = history.index(1) if 1 in history else -1
        warm = common.head_tokens
        if ago >= 0 and common.last_gap_s + ago * common.gap_s <= lifetime_s:
            warm = max(warm, common.shared_tokens - ago * int(common.growth_tokens))
        total += chance * warm
    return total


@given(
    st.integers(1, 9), st.floats(0.05, 1.0), st.integers(0, 900), st.integers(0, 200), st.integers(0, 20_000),
    st.integers(0, 20_000), st.integers(0, 4_000),
)  # fmt: skip
def test_chance_of_a_warm_place_is_that_of_all_histories(
    turns: int, share: float, last_gap_s: int, gap_s: int, shared: int, head: int, growth: int
) -> None:
    common = SharedPrompt(20_000, shared, min(head, shared), turns, last_gap_s, gap_s, growth)
    assert spread_warm_tokens(common, share, 300.0) == pytest.approx(_by_all_histories(common, share, 300.0), abs=1e-6)


@st.composite
def bills(draw: st.DrawFn) -> tuple[Lane, Record, TokenUsage, RequestBill]:
    """Of a request at `a`, one of up to four providers."""
    make = Make()
    prices = [
        Price(cost, draw(_USD), cost * draw(st.floats(0.01, 1.0)), cost * draw(st.sampled_from((1.0, 1.25))))
        for cost in draw(st.lists(_USD, min_size=1, max_size=4))
    ]
    names = "abcd"[: len(prices)]
    lane = make.lane(*(make.provider(name, price=price) for name, price in zip(names, prices, strict=True)))
    prompt = draw(st.integers(1, 200_000))
    cached = draw(st.integers(0, prompt))
    written = draw(st.none() | st.integers(0, prompt - cached))
    turns = draw(st.integers(0, 30))
    before = TurnsBefore(turns, draw(st.floats(0.1, 900)), draw(st.floats(0, 900)), draw(st.floats(0, 9_000)))
    evidence = CacheEvidence(
        expected=(draw(st.integers(0, prompt)), *([0] * (len(names) - 1))), before=draw(st.sampled_from(("", *names)))
    )
    made = record(order=tuple(names), ttls_s=(300.0,) * len(names), before=before, cache=evidence)
    tokens = TokenUsage(prompt, cached, draw(st.integers(0, 2_000)), written)
    found = bill(lane, "a", made, tokens)
    assert found is not None
    return lane, made, tokens, found


@given(bills())
def test_no_rule_pays_less_than_all_read_or_more_than_all_written(
    drawn: tuple[Lane, Record, TokenUsage, RequestBill],
) -> None:
    lane, _, tokens, found = drawn
    prices = [each.price for each in lane.candidates if each.price is not None]
    least = min(tokens.prompt * p.cache_read + tokens.output * p.output for p in prices) / 1e6
    most = max(tokens.prompt * max(p.input, p.cache_write) + tokens.output * p.output for p in prices) / 1e6
    for usd in (found.paid_usd, found.spread_usd, found.cheapest_usd):
        assert least * (1 - 1e-9) <= usd <= most * (1 + 1e-9)


@given(bills())
def test_cache_saves_no_more_than_the_discount_of_what_was_read(
    drawn: tuple[Lane, Record, TokenUsage, RequestBill],
) -> None:
    lane, _, tokens, found = drawn
    price = lane.by_provider["a"].price
    assert price is not None
    saved = (tokens.cached or 0) * (price.input - price.cache_read) / 1e6
    assert found.uncached_usd - found.paid_usd <= saved + 1e-9


@given(bills())
def test_where_there_is_one_provider_all_rules_pay_alike(drawn: tuple[Lane, Record, TokenUsage, RequestBill]) -> None:
    lane, _, _, found = drawn
    if len(lane.candidates) == 1:
        assert found.paid_usd == found.spread_usd == found.cheapest_usd
