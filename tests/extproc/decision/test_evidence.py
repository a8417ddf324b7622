"""What is noted of the prompt caches when a request is decided."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import CacheFields
from limpet_extproc.contract.record import CacheEvidence
from limpet_extproc.decision.evidence import evidence_of
from limpet_extproc.decision.prefix import HASH_BYTES, Chain
from limpet_extproc.decision.warmth import NO_WARMTH, Warmth
from limpet_extproc.memory import ConversationPace, LastFailure, Remembered, Warm

NOW = 1000.0
TOKENS = (0, 2_000, 2_100, 2_600, 2_700)
"""Up to the tools, the system prompt, and three messages."""


def hashes(*parts: int) -> bytes:
    return b"".join(bytes([part] * HASH_BYTES) for part in parts)


CHAIN = Chain(hashes(1, 2, 3, 4, 5), TOKENS)
BEFORE = Warm("a", NOW + 60, 2_100, 0, hashes(1, 2, 3))


def noted(make: Make, remembered: Remembered | None, chain: Chain = CHAIN, **more: Any) -> CacheEvidence:
    providers = more.pop("providers", {})
    lane = make.lane(*(make.provider(name, **providers.get(name, {})) for name in "abc"))
    query = replace(make.query(lane, prompt_tokens=2_700), chain=chain, has_history=True)
    warmth = Warmth(0, more.pop("warm", {}), more.pop("coming", ()))
    return evidence_of(query, ("a", "b"), remembered, warmth, NOW, **more)


@pytest.mark.parametrize(
    ("before", "changed_at", "shared", "changed"),
    [
        (hashes(1, 2, 3), "", 2_100, 2_600),
        (hashes(1, 2, 9), "message 1", 2_000, 2_100),
        (hashes(1, 9, 9), "system", 0, 2_000),
        (hashes(9, 9, 9), "tools", 0, 0),
        (hashes(1, 2, 3, 4, 5, 6), "", 2_700, 2_700),
    ],
)
def test_the_prompt_is_compared_with_that_of_the_last_turn(
    make: Make, before: bytes, changed_at: str, shared: int, changed: int
) -> None:
    evidence = noted(make, Remembered((replace(BEFORE, chain=before),)))
    assert (evidence.compared, evidence.changed_at) == (True, changed_at)
    assert (evidence.shared_tokens, evidence.changed_tokens) == (shared, changed)
    assert (evidence.goes_on, evidence.added_tokens) == (True, 600)


@pytest.mark.parametrize(("settings", "alike"), [(b"\0\1", True), (b"\0\2", False), (b"", False)])
def test_all_else_that_is_asked_for_is_compared_too(make: Make, settings: bytes, alike: bool) -> None:
    query = replace(make.query(make.lane(make.provider("a"))), chain=CHAIN, settings=b"\0\1")
    remembered = Remembered((replace(BEFORE, settings=settings),))
    assert evidence_of(query, ("a",), remembered, NO_WARMTH, NOW).asked_alike == alike


@pytest.mark.parametrize(("messages", "alike"), [(4, True), (2, False)])
def test_a_breakpoint_reaches_back_over_few_messages(make: Make, messages: int, alike: bool) -> None:
    lane = make.lane(make.provider("a", cache_fields=CacheFields({"OpenAIChat": "Blocks"}, only_marked=True)))
    chain = Chain(hashes(1, 2, 3, 4, 5, 6), (*TOKENS, 2_900))
    query = replace(make.query(lane), chain=chain, settings=b"\0\1")
    before = Warm("a", NOW + 60, 2_100, 0, chain.hashes[: messages * HASH_BYTES], b"\0\1")
    assert evidence_of(query, ("a",), Remembered((before,)), NO_WARMTH, NOW).asked_alike == alike


def test_an_edit_before_it_makes_no_breakpoint_reach_further(make: Make) -> None:
    lane = make.lane(make.provider("a", cache_fields=CacheFields({"OpenAIChat": "Blocks"}, only_marked=True)))
    query = replace(make.query(lane), chain=CHAIN, settings=b"\0\1")
    before = Warm("a", NOW + 60, 2_100, 0, hashes(1, 2, 9), b"\0\1")
    assert evidence_of(query, ("a",), Remembered((before,)), NO_WARMTH, NOW).asked_alike


@pytest.mark.parametrize(("policy_s", "until_s"), [(None, NOW + 60), (7_200.0, NOW + 60 - 6_900), (60.0, NOW + 60)])
def test_a_policy_that_has_it_stay_longer_changes_no_cache(make: Make, policy_s: float | None, until_s: float) -> None:
    lane = make.lane(make.provider("a", cache_ttl_s=300.0), memory_ttl_s=policy_s)
    evidence = evidence_of(make.query(lane), ("a",), Remembered((BEFORE,)), NO_WARMTH, NOW)
    assert evidence.before_until_s == until_s


@pytest.mark.parametrize("missing", [{"chain": Chain(b"", ())}, {"remembered": Remembered((Warm("a", NOW + 60),))}])
def test_without_both_chains_nothing_is_compared(make: Make, missing: dict[str, Any]) -> None:
    evidence = noted(make, missing.get("remembered", Remembered((BEFORE,))), missing.get("chain", CHAIN))
    assert (evidence.compared, evidence.changed_at, evidence.before) == (False, "", "a")


@pytest.mark.parametrize(
    ("remembered", "before"),
    [
        (None, ("", 0, 0.0)),
        (Remembered(pending="a"), ("", 0, 0.0)),
        (Remembered((BEFORE, Warm("b", NOW + 90, 1_000))), ("a", 2_100, NOW + 60)),
        (Remembered((replace(BEFORE, cached_tokens=1_900),)), ("a", 1_900, NOW + 60)),  # its tail was not marked
        (Remembered(failure=LastFailure(("a",), NOW - 9)), ("", 0, 0.0)),
        # The last turn was served there, and this one's last try failed.
        (
            Remembered(failure=LastFailure(("a",), NOW - 9), pace=ConversationPace(3, NOW - 99, 60.0, 2_100)),
            ("a", 2_100, NOW - 99 + 300),
        ),
        (Remembered(pace=ConversationPace(3, NOW - 999, 60.0, 2_100)), ("", 0, NOW - 999 + 300)),
    ],
)
def test_where_the_last_turn_was_and_what_it_left_there(
    make: Make, remembered: Remembered | None, before: tuple[str, int, float]
) -> None:
    evidence = noted(make, remembered)
    assert (evidence.before, evidence.before_tokens, evidence.before_until_s) == before


def test_a_prompt_below_the_minimum_left_nothing(make: Make) -> None:
    evidence = noted(make, Remembered((BEFORE,)), providers={"a": {"min_tokens": 2_101}})
    assert (evidence.before, evidence.before_tokens, evidence.min_tokens) == ("a", 0, (2_101, 0))


@pytest.mark.parametrize(
    ("fields", "until_s", "warm", "expected"),
    [
        ({}, NOW + 60, {}, (2_000, 0)),
        ({}, NOW + 60, {"a": 2_050, "b": 1_000, "gone": 9}, (2_050, 1_000)),
        ({}, NOW, {}, (0, 0)),
        ({"min_tokens": 2_001}, NOW + 60, {}, (0, 0)),
        ({"cache_fields": CacheFields({"OpenAIChat": "Blocks"}, only_marked=True)}, NOW + 60, {"a": 2_000}, (0, 0)),
    ],
)
def test_what_comes_before_a_change_is_expected_where_whole_prompts_are_cached(
    make: Make, fields: Any, until_s: float, warm: dict[str, int], expected: tuple[int, int]
) -> None:
    before = replace(BEFORE, until_s=until_s, chain=hashes(1, 2, 9))
    assert noted(make, Remembered((before,)), providers={"a": fields}, warm=warm).expected == expected


@pytest.mark.parametrize(
    ("remembered", "coming", "parallel"),
    [
        (None, (), ()),
        (None, ("b",), (False, True)),
        (Remembered(pending="a"), (), (True, False)),
        (Remembered((BEFORE,), pending="b"), (), ()),
    ],
)
def test_where_the_first_request_is_under_way(
    make: Make, remembered: Remembered | None, coming: tuple[str, ...], parallel: tuple[bool, ...]
) -> None:
    assert noted(make, remembered, coming=coming).parallel == parallel


def test_a_provider_that_keeps_only_breakpoints_lacks_one(make: Make) -> None:
    only = {"cache_fields": CacheFields({"OpenAIChat": "Blocks"}, only_marked=True)}
    assert noted(make, None, providers={"b": only}).no_breakpoint == (False, True)
    assert noted(make, None).no_breakpoint == ()


def test_what_this_turn_adds_is_all_of_a_body_that_goes_on_from_an_object(make: Make) -> None:
    query = make.query(make.lane(make.provider("a")), prompt_tokens=70)
    added = [evidence_of(each, ("a",), None, NO_WARMTH, NOW) for each in (query, replace(query, pinned="a"))]
    assert [(each.goes_on, each.added_tokens) for each in added] == [(False, 0), (True, 70)]


def test_another_model_is_named(make: Make) -> None:
    assert noted(make, None, model_before="pro").model_before == "pro"
