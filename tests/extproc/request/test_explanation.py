"""Explanations: the decision that was made, what each candidate costs, and never more than may be told."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import CHEAP, Make
from tests.extproc.decision.test_choose_rules import NOW, situations

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.explanation import (
    MOST_HEADER_CHARS,
    ExplainedCandidate,
    ExplainedEdits,
    Explanation,
    NoExplanationError,
    decode,
    encode,
    in_header,
)
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.pick import near_limit
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.memory import ConversationPace, LastFailure, Remembered, Warm
from limpet_extproc.memory.heads import NO_HEADS
from limpet_extproc.request.explanation import Considered, explained
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing, decide

HEAD = RequestHead(OpenAIChat(), {})
DEAR = Price(input=1.5, output=6.0, cache_read=0.03, cache_write=1.5)
ROUNDED = 1e-9


def explained_of(
    opened: Any, remembered: Remembered | None = None, states: ProviderStates | None = None, now_s: float = NOW
) -> Explanation:
    assert isinstance(opened, Opened)
    states = states or ProviderStates()
    found = decide(opened, remembered, states, now_s, b"seed")
    return explained(opened.head, Considered(opened, remembered, states, NO_HEADS, now_s), found, now_s)


@given(situations())
def test_an_explanation_is_that_of_the_decision(
    situation: tuple[Query, Remembered | None, ProviderStates],
) -> None:
    query, remembered, states = situation
    request = ParsedRequest("m", b"fingerprint")
    opened = Opened(request, query, "fingerprint", {}, "", HEAD, b"{}")
    found = decide(opened, remembered, states, NOW, b"seed")
    told = explained(HEAD, Considered(opened, remembered, states, NO_HEADS, NOW), found, NOW)
    names = [each.provider for each in told.candidates]
    assert len(names) == len(set(names))
    assert set(query.lane.by_provider) <= set(names)
    if not isinstance(found, Routing):
        assert told.refused is not None
        assert (told.reason, told.refused.status, told.order) == (found.reason, found.status, ())
        return
    decision = found.decision
    assert (told.reason, told.order) == (decision.reason, decision.order)
    assert tuple(names[: len(decision.order)]) == decision.order
    assert [each.place for each in told.candidates if each.place] == list(range(1, len(decision.order) + 1))
    assert {each.provider: each.passed_over for each in told.candidates if each.passed_over} == dict(decision.excluded)
    assert decode(encode(told)) == told
    assert len(in_header(told)) <= MOST_HEADER_CHARS
    by_name = {each.provider: each for each in told.candidates}
    first = by_name[decision.order[0]]
    if decision.reason == "sticky.moved.cheaper":
        stays = by_name[decision.order[1]].stays_usd
        assert first.score is not None
        assert stays is not None
        assert first.score <= stays + ROUNDED
    returning = any(state.returned_s for state in states.health.values())
    if decision.reason == "first.scored" and told.mode == "Enforce" and not returning:
        scores = [each.score for each in told.candidates if each.score is not None and not each.passed_over]
        weighty = [
            each.score
            for each in told.candidates
            if each.score is not None and not each.passed_over and query.lane.by_provider[each.provider].weight
        ]
        if first.score is not None and scores:
            limit = near_limit(weighty or scores, query.lane.policy.spread_within_percent)
            assert first.score <= limit * (1 + ROUNDED) + ROUNDED


@pytest.fixture
def snapshot(make: Make) -> Snapshot:
    return make.snapshot(make.provider("a"), make.provider("b", price=DEAR), make.provider("c", price=None))


def by_provider(told: Explanation) -> Mapping[str, ExplainedCandidate]:
    return {each.provider: each for each in told.candidates}


def test_the_parts_of_a_request_add_up(make: Make, snapshot: Snapshot) -> None:
    opened = make.opened(snapshot, make.body("x" * 30_000))
    remembered = Remembered((Warm("b", NOW + 60, 9_000),), pace=ConversationPace(3, NOW - 10, 20.0, 9_000, 500.0, 80.0))
    told = explained_of(opened, remembered)
    found = by_provider(told)
    for name in "ab":
        each = found[name]
        assert each.request_usd == pytest.approx(each.uncached_usd + each.read_usd + each.write_usd + each.output_usd)
    assert found["a"].read_usd == 0.0
    assert found["b"].read_usd == pytest.approx(9_000 * 0.03e-6)
    assert (found["b"].warm_tokens, found["b"].warm_until_s) == (9_000, NOW + 60)
    assert not found["c"].priced
    assert found["c"].request_usd == pytest.approx(9_000 * 1.5e-6 + 400 * 6e-6, rel=0.2), "as the dearest, and cold"
    assert told.outlook is not None
    assert told.outlook.further_turns > 1
    assert told.margin == 0.05
    assert told.memory is not None
    assert told.memory.turns == 3


PACE = ConversationPace(3, NOW - 10, 20.0, 9_000, 500.0, 80.4)


@pytest.mark.parametrize(
    ("fields", "policy", "expected"),
    [
        ({}, {}, 80),
        ({}, {"mode": "Observe"}, 80),
        ({}, {"mode": "Off"}, 400),  # nothing is remembered
        ({"max_tokens": 50}, {}, 50),
        ({"provider": {"sort": "price"}}, {}, 80),
        ({"provider": {"ignore": ["c"]}}, {}, 80),
    ],
)
def test_every_dollar_is_of_the_answer_that_is_expected(
    make: Make, fields: dict[str, Any], policy: dict[str, Any], expected: int
) -> None:
    tables = make.snapshot(make.provider("a"), make.provider("b", price=DEAR), **policy)
    opened = make.opened(tables, make.body("x" * 30_000, **fields))
    told = explained_of(opened, Remembered((Warm("b", NOW + 60, 9_000),), pace=PACE))
    assert told.prompt is not None
    assert told.prompt.output_tokens == expected
    assert by_provider(told)["b"].output_usd == pytest.approx(expected * DEAR.output * 1e-6)
    if told.outlook is not None:
        assert told.outlook.output_tokens == expected
    if policy or "provider" in fields:
        a = by_provider(told)["a"]
        assert a.score == a.request_usd, "nothing of it is warm there"


def test_the_answer_that_is_expected_decides_as_it_is_told(make: Make) -> None:
    """Cheap prompts and dear answers at one of them: which costs less depends on the answer's length alone."""
    talks = make.provider("talks", price=Price(input=1.0, output=1.0, cache_read=1.0, cache_write=1.0))
    listens = make.provider("listens", price=Price(input=0.5, output=40.0, cache_read=0.5, cache_write=0.5))
    opened = make.opened(make.snapshot(talks, listens), make.body("x" * 30_000, provider={"sort": "price"}))
    for answers, first in ((20.0, "listens"), (2_000.0, "talks")):
        told = explained_of(opened, Remembered(pace=ConversationPace(3, NOW - 10, 20.0, 9_000, 500.0, answers)))
        scores = {each.provider: each.score for each in told.candidates}
        assert told.order[0] == first == min(scores, key=lambda name: scores[name] or 0.0)


@pytest.mark.parametrize(
    ("fields", "provider", "policy", "why"),
    [
        ({}, {}, {"mode": "Off"}, "mode_off"),
        ({"provider": {"order": ["a"]}}, {}, {}, "client_steers"),
        ({}, {"caches": False}, {}, "unsticky.no_cache"),
        ({}, {"min_tokens": 100_000}, {}, "unsticky.below_minimum"),
        ({}, {}, {}, ""),
    ],
)
def test_what_would_be_remembered_or_why_nothing_would(
    make: Make, fields: dict[str, Any], provider: dict[str, Any], policy: dict[str, Any], why: str
) -> None:
    told = explained_of(make.opened(make.snapshot(make.provider("a", **provider), **policy), make.body(**fields)))
    assert told.keeping is not None
    assert told.keeping.why_not == why
    assert (told.keeping.provider, told.keeping.for_s) == (("", 0.0) if why else ("a", 300.0))


def test_edits_are_told_by_the_names_of_fields(make: Make) -> None:
    renamed = msgspec.structs.replace(
        make.provider("a"), models=(Model("flash", "flash-2026", 0, CHEAP, cache_key=True),)
    )
    told = explained_of(make.opened(make.snapshot(renamed), make.body(session_id="mine", prompt_cache_retention="24h")))
    (candidate,) = told.candidates
    assert candidate.edits == ExplainedEdits(
        "flash-2026", ("session_id", "prompt_cache_retention"), ("prompt_cache_key",)
    )


def test_a_last_failure_and_observe_are_told(make: Make) -> None:
    snapshot = make.snapshot(make.provider("a"), make.provider("b"), mode="Observe")
    told = explained_of(
        make.opened(snapshot, make.body()), Remembered(failure=LastFailure(("a",), NOW - 1), pending=None)
    )
    assert (told.reason, told.enforce_reason) == ("observe.spread", "sticky.left.failed")
    assert told.enforce_provider == "b"
    assert told.memory is not None
    assert told.memory.failed == ("a",)


def test_no_text_and_no_name_is_told(make: Make, snapshot: Snapshot) -> None:
    secret = "the launch code is 4711"
    opened = make.opened(snapshot, make.body(secret, session_id=secret, user=secret), authorization=f"Bearer {secret}")
    assert secret not in encode(explained_of(opened))


@given(st.integers(0, 300), st.text(max_size=30), st.integers(60, MOST_HEADER_CHARS))
def test_a_header_is_whole_json_of_bounded_size(candidates: int, name: str, most: int) -> None:
    many = tuple(
        ExplainedCandidate(f"{name}{at}", at + 1, request_usd=0.1, edits=ExplainedEdits("x", ("y",)))
        for at in range(candidates)
    )
    told = Explanation("first.scored", "OpenAIChat", name, candidates=many, problems=name * 100)
    text = in_header(told, max(most, 200))
    assert len(text) <= max(most, 200)
    assert text.isascii()
    assert text.isprintable()
    read = decode(text)
    assert read.reason == "first.scored"
    if read != told:
        assert read.left_out
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("text", [b"", b"[]", b'{"reason": 3}', b"\xff", b"<html>"])
def test_what_is_no_explanation_is_not_read(text: bytes) -> None:
    with pytest.raises(NoExplanationError):
        decode(text)


def test_a_provider_that_drains_stays_among_those_that_are_compared(make: Make) -> None:
    snapshot = make.snapshot(make.provider("a", drain=True), make.provider("b"))
    told = explained_of(make.opened(snapshot, make.body("x" * 30_000)), Remembered((Warm("a", NOW + 60, 9_000),)))
    found = by_provider(told)
    assert (told.order[0], found["a"].passed_over) == ("a", "draining")
    assert found["a"].score is not None
