"""`x-limpet-cost`: what the Lua of an attempt tells the client that its answer cost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.publish.lua_world import LuaWorld, Reply

from limpet_extproc.contract.envoy import COST_HEADER, DECISION_COST
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.bills import paid_usd
from limpet_extproc.envoy.usage import TokenUsage

_LUA = LuaWorld()
RATES = (0, 3.0, 0.3, 3.75, 6.0, 15.0)
LONG = (200_000, 6.0, 0.6, 7.5, 12.0, 30.0)
PRICE, LONG_PRICE = Price(3.0, 15.0, 0.3, 3.75, 6.0), Price(6.0, 30.0, 0.6, 7.5, 12.0)
BASIS: dict[str, Any] = {DECISION_COST: {"alpha": [0.001234, *RATES, *LONG]}}


def answer(usage: dict[str, Any] | None, **decision: Any) -> str | None:
    """The header of a whole answer with this usage."""
    body = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "x"}}]}
    text = json.dumps(body if usage is None else {**body, "usage": usage}).encode()
    reply = Reply([text], headers={"content-type": "application/json"})
    return _LUA.answer(reply, decision=decision).headers.get(COST_HEADER)


def usage(prompt: int, cached: int | None, output: int) -> dict[str, Any]:
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output, **details}


@given(st.integers(1, 400_000), st.floats(0, 1), st.integers(0, 10_000))
def test_a_whole_answer_has_what_it_cost_and_what_its_cache_saved(prompt: int, share: float, output: int) -> None:
    cached = int(prompt * share)
    price = LONG_PRICE if prompt > 200_000 else PRICE
    paid = paid_usd(price, TokenUsage(prompt, cached, output))
    saved = cached * (price.input - price.cache_read) / 1e6
    header = answer(usage(prompt, cached, output), **BASIS)
    assert header is not None
    told = {name: float(value) for name, value in (part.split("=") for part in header.split(", "))}
    assert told == {"paid": pytest.approx(paid, abs=6e-9), "saved": pytest.approx(saved, abs=6e-9)}


def test_what_is_written_to_the_cache_has_its_own_price() -> None:
    written = {**usage(1_000_000, 0, 0), "cache_creation_input_tokens": 500_000}
    header = answer(written, **{DECISION_COST: {"alpha": [0.0, *RATES]}})
    assert header == "paid=3.37500000, saved=-0.37500000"


@pytest.mark.parametrize("prompt", [1, 7, 11, 333, 1_001, 3_599])
@pytest.mark.parametrize("usd", [0.07, 0.1, 1.1, 1.6])
def test_nothing_saved_is_never_less_than_nothing(prompt: int, usd: float) -> None:
    header = answer(usage(prompt, 0, 45), **{DECISION_COST: {"alpha": [0.0, 0, usd, usd / 10, usd, usd, 5 * usd]}})
    assert header is not None
    assert header.endswith("saved=0.00000000")


@pytest.mark.parametrize(
    ("told", "decision", "header"),
    [
        (usage(1_000, None, 0), BASIS, "at_most=0.00300000, saved=0.00000000"),
        (None, BASIS, None),  # no tokens, no dollars
        (usage(1_000, 0, 0), {}, None),  # nothing is to be shown
        (usage(1_000, 0, 0), {DECISION_COST: {"beta": [0.0, *RATES]}}, None),  # a price that is not known
    ],
)
def test_what_is_not_known_is_not_told(told: Any, decision: Any, header: str | None) -> None:
    assert answer(told, **decision) == header


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_an_answer_that_passes_as_it_comes_has_what_is_expected(kind: str) -> None:
    text = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n' if "event" in kind else b'{"choices":[{"message":{}}]}'
    reply = Reply([text, b"\n"], headers={"content-type": kind})
    assert _LUA.answer(reply, decision=BASIS).headers[COST_HEADER] == "expected=0.00123400"
