"""The Infron test's arithmetic and prompts, checked against the article's own table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.bench.infron import bills_for
from limpet_lab.bench.infron_arms import group_sizes
from limpet_lab.bench.infron_prompt import PREFIX_CHARS, messages_for, messages_with
from limpet_lab.bench.infron_rounds import call_of
from limpet_lab.bench.infron_score import AnsweredCall, Bill, PerMillion, Round, ratio, score
from limpet_lab.sim.prompt import render

OFF_PEAK = PerMillion(input=0.15, cache_read=0.003, output=0.60)


def _rounds(hits: int, misses: int, output: int = 455) -> list[Round]:
    def one(number: int, cached: int) -> Round:
        return Round(
            AnsweredCall(f"first-{number}", 4_213, 0, output), AnsweredCall(f"second-{number}", 4_213, cached, output)
        )

    return [one(number, 4_096 if number < hits else 0) for number in range(hits + misses)]


def test_the_articles_first_arm() -> None:
    rounds = _rounds(120, 0)
    result = score(rounds, bills_for(rounds, OFF_PEAK))
    assert (result.rounds, result.rounds_hit, result.call_hit_rate) == (120, 120, 1.0)
    assert result.token_hit_rate == pytest.approx(0.9722, abs=5e-5)
    assert result.avg_cached_tokens == 4_096.0
    assert result.cost_usd == pytest.approx(0.036364, rel=0.01)
    assert result.input_cost_usd == pytest.approx(0.003581, abs=1e-6)


def test_the_articles_second_arm() -> None:
    ours, theirs = _rounds(120, 0), _rounds(103, 17)
    result = score(theirs, bills_for(theirs, OFF_PEAK))
    assert result.call_hit_rate == pytest.approx(0.8583, abs=5e-5)
    assert result.token_hit_rate == pytest.approx(0.8345, abs=5e-5)
    more = ratio(result, score(ours, bills_for(ours, OFF_PEAK)))
    assert more == pytest.approx(1.2917, abs=0.02)


def test_unreported_is_no_miss() -> None:
    rounds = [*_rounds(1, 0), Round(AnsweredCall("x", 10, 0, 1), AnsweredCall("y", 10, None, 1))]
    result = score(rounds, {})
    assert (result.rounds, result.rounds_hit, result.rounds_unreported) == (2, 1, 1)
    assert result.call_hit_rate == 1.0


def test_nothing_reported_is_unknown() -> None:
    result = score([Round(AnsweredCall("x", None, None, None), AnsweredCall("y", None, None, None))], {})
    assert (result.call_hit_rate, result.token_hit_rate, result.avg_cached_tokens) == (None, None, None)
    assert (result.cost_usd, ratio(result, result)) == (None, None)


@given(st.integers(0, 20), st.integers(0, 20))
def test_one_missing_bill_leaves_the_sum_unknown(hits: int, misses: int) -> None:
    rounds = _rounds(hits, misses)
    bills = bills_for(rounds, OFF_PEAK)
    assert score(rounds, bills).cost_usd is not None
    if rounds:
        bills.pop(rounds[0].second.id)
        assert score(rounds, bills).cost_usd is None


def test_a_bill_is_priced_by_kind_of_token() -> None:
    bill = PerMillion(1.0, 0.1, 2.0).bill(AnsweredCall("x", 1_000_000, 400_000, 500_000))
    assert bill == Bill(usd=pytest.approx(1.64), input_usd=pytest.approx(0.64))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        (None, None),
        ({"prompt_tokens": 9, "completion_tokens": 1}, None),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, None),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}}, 0),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, 4),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}, 5),
        ({"prompt_tokens": 9, "cached_tokens": 6}, 6),
        ({"prompt_tokens": 9, "num_cached_tokens": 7}, 7),
    ],
)
def test_every_vendors_place_for_cached_tokens_is_read(usage: dict[str, object] | None, cached: int | None) -> None:
    assert call_of("id", usage).cached == cached


@pytest.mark.parametrize(("rounds", "sizes"), [(120, [40, 40, 40]), (3, [1, 1, 1]), (11, [4, 4, 3])])
def test_three_groups(rounds: int, sizes: list[int]) -> None:
    assert group_sizes(rounds) == sizes


@given(st.text(max_size=20))
def test_prompts_have_the_articles_size(conversation: str) -> None:
    messages = messages_for(conversation)
    assert len(messages[0]["content"]) == PREFIX_CHARS
    assert render({"messages": messages}).tokens == 4_213


def test_conversations_differ_from_the_start() -> None:
    heads = {messages_for(f"arm/{number}")[0]["content"][:8] for number in range(200)}
    assert len(heads) == 200
    own = {messages_with(f"arm/{number}", "the same prompt")[0]["content"][:8] for number in range(200)}
    assert len(own) == 200
