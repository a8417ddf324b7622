"""Why a request read from a cache what it read: a row for each cause, and what holds whatever the evidence says."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.reasons import CacheCause
from limpet_extproc.contract.record import CacheEvidence, Record
from limpet_extproc.decision.cause import ROUNDED_TOKENS, cause_of

NOW = 1_760_000_000.0
PROMPT = 12_000
RECORD = Record(
    key=bytes(16),
    model="flash",
    identified_by="x-session-id",
    reason="sticky.hit",
    enforce_reason=None,
    order=("a", "b", "c"),
    ttls_s=(300.0, 300.0, 0.0),
    started_s=NOW,
    prompt_tokens=PROMPT,
    max_providers=4,
    learn=True,
)
NEW = CacheEvidence(expected=(0, 0, 0))
"""A first turn of which nothing is warm."""
KNOWN = CacheEvidence(
    expected=(10_000, 0, 0),
    before="a",
    before_tokens=10_000,
    before_until_s=NOW + 200,
    compared=True,
    shared_tokens=10_000,
    changed_tokens=10_000,
    goes_on=True,
    asked_alike=True,
)
"""Its last turn had 10,000 tokens, and they are as they were."""
CHANGED = replace(KNOWN, expected=(4_000, 0, 0), changed_at="message 3", shared_tokens=4_000, changed_tokens=5_000)
EXPIRED = replace(KNOWN, expected=(0, 0, 0), before_until_s=NOW - 1)
OK = {name: Attempt(name, "flash", 200, "ok") for name in "abc"}
BAD = Attempt("a", "flash", 500, "failed", "ServerError")


def found(
    evidence: CacheEvidence, cached: int | None, *attempts: Attempt, prompt: int = PROMPT, **record: Any
) -> str | None:
    cause = cause_of(replace(RECORD, cache=evidence, **record), attempts or (OK["a"],), prompt, cached)
    return None if cause is None else str(cause)


@pytest.mark.parametrize(
    ("evidence", "cached", "cause"),
    [
        (KNOWN, 10_000, "hit"),
        (KNOWN, 9_984, "hit"),  # whole blocks of 128
        (KNOWN, 9_728, "hit"),  # of 256, and the last one not whole
        (KNOWN, 11_904, "hit"),  # a vendor that keeps answers too
        (KNOWN, 9_216, "partial(9216)"),
        (KNOWN, 128, "partial(128)"),
        (KNOWN, 0, "provider_side"),
        (KNOWN, None, "unreported"),
        (EXPIRED, 0, "ttl_expired"),
        (EXPIRED, 10_000, "hit"),
        (
            replace(NEW, before_until_s=NOW - 1, goes_on=True),
            0,
            "ttl_expired",
        ),  # so long ago that nothing else is known
        (replace(EXPIRED, expected=(2_000, 0, 0)), 1_920, "ttl_expired"),  # its head is another conversation's, too
        (CHANGED, 3_968, "prefix_changed(message 3)"),
        (CHANGED, 4_992, "prefix_changed(message 3)"),  # the beginning of what has changed has not
        (replace(CHANGED, expected=(0, 0, 0), changed_at="tools", shared_tokens=0), 0, "prefix_changed(tools)"),
        (NEW, 0, "cold_start"),
        (NEW, 1_024, "hit"),  # another gateway, or one before this
        (replace(NEW, expected=(4_000, 0, 0)), 3_968, "hit"),
        (replace(NEW, expected=(4_000, 0, 0)), 1_024, "partial(1024)"),
        (replace(NEW, parallel=(True, False, False)), 0, "parallel_first"),
        (replace(NEW, parallel=(True, False, False), expected=(4_000, 0, 0)), 0, "parallel_first"),
        (replace(NEW, parallel=(True, False, False), expected=(4_000, 0, 0)), 3_968, "hit"),
        (replace(NEW, parallel=(False, True, False)), 0, "cold_start"),
        (replace(NEW, min_tokens=(PROMPT + 1, 0, 0)), 0, "below_minimum"),
        (replace(NEW, min_tokens=(PROMPT, PROMPT + 1, 0)), 0, "cold_start"),
        (replace(NEW, no_breakpoint=(True, True, False)), 0, "no_breakpoint"),
        (replace(NEW, model_before="pro", goes_on=True), 0, "model_changed"),
        (replace(NEW, goes_on=True, added_tokens=500), 11_392, "hit"),
        # Its earlier turns were too short.
        (replace(NEW, goes_on=True, added_tokens=10_000, min_tokens=(8_000, 0, 0)), 0, "cold_start"),
        (
            replace(NEW, model_before="pro", goes_on=True, added_tokens=10_000, min_tokens=(8_000, 0, 0)),
            0,
            "cold_start",
        ),
        # All before the change was read, so nothing else that has changed as well did matter.
        (replace(CHANGED, asked_alike=False), 3_968, "prefix_changed(message 3)"),
        (replace(KNOWN, no_breakpoint=(True, False, False)), 0, "no_breakpoint"),
        (replace(KNOWN, min_tokens=(PROMPT + 1, 0, 0)), 0, "below_minimum"),
        (replace(KNOWN, before_tokens=0), 0, "cold_start"),  # the last turn was too short
    ],
)
def test_each_cause_is_named(evidence: CacheEvidence, cached: int | None, cause: str) -> None:
    assert found(evidence, cached) == cause


@pytest.mark.parametrize(
    ("evidence", "cached"),
    [
        (CacheEvidence(), 0),  # of another version
        (CHANGED, 9_000),  # most of what comes after the change was read
        (CHANGED, 0),  # nor was what comes before it
        (CHANGED, 2_048),  # nor was all that comes before it
        (replace(CHANGED, asked_alike=False), 2_048),
        # It may be the same prompt, written otherwise.
        (replace(KNOWN, expected=(0, 0, 0), changed_at="tools", shared_tokens=0, asked_alike=False), 0),
        (replace(KNOWN, compared=False), 0),
        (replace(KNOWN, asked_alike=False), 0),  # another tool_choice, or another prompt_cache_key
        (replace(KNOWN, asked_alike=False), 4_096),  # of which what is cached of messages depends, but not of tools
        (replace(KNOWN, before_until_s=NOW + 1), 4_096),  # others may have used its beginning
        (EXPIRED, 6_000),  # others of which nothing is known
        (replace(EXPIRED, changed_at="message 3", shared_tokens=6_000, changed_tokens=7_000), 6_000),
        (replace(NEW, expected=(4_000, 0, 0)), 0),  # or that of another conversation
        (replace(KNOWN, before_until_s=NOW + 1), 0),  # it may have ended on the way
        (replace(KNOWN, before_tokens=200), 0),  # perhaps not one block
        (replace(EXPIRED, expected=(5_000, 0, 0)), 0),  # some of it another conversation had used since
        (replace(NEW, goes_on=True), 0),  # its earlier turns are not remembered
        (replace(NEW, goes_on=True, added_tokens=500), 6_016),
    ],
)
def test_evidence_that_is_missing_or_contradicts_what_was_read_gives_no_cause(
    evidence: CacheEvidence, cached: int
) -> None:
    assert found(evidence, cached) == "unknown"


@pytest.mark.parametrize(
    ("evidence", "attempts", "cached", "cause"),
    [
        (KNOWN, ["b"], 0, "provider_switched(sticky.left.down)"),
        (KNOWN, ["a failed", "b"], 0, "provider_switched(ServerError)"),
        (KNOWN, ["b"], 2_048, "provider_switched(sticky.left.down)"),  # a head that it has from others
        (KNOWN, ["b"], 9_984, "hit"),
        (replace(KNOWN, before_tokens=7_000), ["b"], 8_064, "provider_switched(sticky.left.down)"),  # in other tokens
        (CHANGED, ["b"], 9_728, "provider_switched(sticky.left.down)"),
        (KNOWN, ["c"], 0, "provider_switched(sticky.left.down)"),
        (replace(KNOWN, compared=False), ["b"], 0, "provider_switched(sticky.left.down)"),
        (CHANGED, ["b"], 0, "provider_switched(sticky.left.down)"),
        (replace(CHANGED, changed_at="system", shared_tokens=0), ["b"], 0, "prefix_changed(system)"),
        (replace(CHANGED, changed_at="system", shared_tokens=0, asked_alike=False), ["b"], 0, "unknown"),
        (replace(KNOWN, expected=(10_000, 8_000, 0)), ["b"], 0, "unknown"),  # it had most of it, and should still
        (EXPIRED, ["b"], 0, "ttl_expired"),
        (replace(EXPIRED, expected=(0, 6_000, 0)), ["b"], 5_888, "ttl_expired"),
        (EXPIRED, ["b"], 6_000, "unknown"),
    ],
)
def test_where_another_provider_answers_that_is_why_unless_there_was_nothing_to_lose(
    evidence: CacheEvidence, attempts: list[str], cached: int, cause: str
) -> None:
    tried = [BAD if each == "a failed" else OK[each] for each in attempts]
    assert found(evidence, cached, *tried, reason="sticky.left.down") == cause


@pytest.mark.parametrize(
    ("attempts", "more"),
    [
        (["c"], {}),  # it keeps no prompts
        (["a"], {"learn": False}),
        (["a"], {"kind": "counting"}),
        (["a"], {"order": ("b",), "ttls_s": (300.0,)}),
    ],
)
def test_where_no_cache_has_a_part_there_is_no_cause(attempts: list[str], more: Any) -> None:
    assert found(NEW, 0, *(OK[each] for each in attempts), **more) is None


def test_what_a_provider_adds_to_a_body_is_no_measure_of_its_tokens() -> None:
    going_on = replace(NEW, goes_on=True, added_tokens=300)  # from an answer that it keeps
    assert found(going_on, 2_000, prompt_tokens=300) == "unknown"
    assert found(going_on, 11_500, prompt_tokens=300) == "hit"


_TOKENS = st.integers(0, 20_000)
_EVIDENCE = st.builds(
    CacheEvidence,
    expected=st.tuples(_TOKENS, _TOKENS, _TOKENS),
    before=st.sampled_from(["", "a", "b", "gone"]),
    before_tokens=_TOKENS,
    before_until_s=st.floats(NOW - 400, NOW + 400),
    changed_at=st.sampled_from(["", "tools", "message 3"]),
    model_before=st.sampled_from(["", "pro"]),
    parallel=st.just(()) | st.tuples(st.booleans(), st.booleans(), st.booleans()),
    no_breakpoint=st.just(()) | st.tuples(st.booleans(), st.booleans(), st.booleans()),
    min_tokens=st.just(()) | st.tuples(_TOKENS, _TOKENS, _TOKENS),
    compared=st.booleans(),
    shared_tokens=_TOKENS,
    changed_tokens=_TOKENS,
    goes_on=st.booleans(),
    asked_alike=st.booleans(),
    added_tokens=_TOKENS,
)


@given(_EVIDENCE, st.none() | st.integers(0, PROMPT), st.sampled_from("abc"))
def test_no_cause_is_named_against_what_was_seen(evidence: CacheEvidence, cached: int | None, provider: str) -> None:
    text = found(evidence, cached, OK[provider])
    cause, _, detail = (text or "").partition("(")
    assert not cause or cause in get_args(CacheCause)
    assert bool(detail) == (cause in ("partial", "prefix_changed", "provider_switched"))
    assert (cause == "unreported") <= (cached is None)
    assert (cause in ("hit", "partial")) <= bool(cached)
    named_if = {
        "ttl_expired": evidence.before_until_s <= NOW,
        "provider_switched": evidence.before not in ("", provider) and evidence.before_until_s > NOW,
        "prefix_changed": evidence.compared and evidence.changed_at and evidence.before,
        "model_changed": evidence.model_before and not cached,
        "below_minimum": max(evidence.min_tokens, default=0) > PROMPT and not cached,
        "no_breakpoint": any(evidence.no_breakpoint) and not cached,
        "parallel_first": any(evidence.parallel) and not evidence.before,
        "cold_start": not cached and not evidence.before_tokens * bool(evidence.before),
        "provider_side": not cached and evidence.asked_alike and evidence.before_tokens > ROUNDED_TOKENS,
    }
    assert named_if.get(cause, True)


@given(_EVIDENCE, st.integers(1, PROMPT))
def test_a_read_of_all_that_the_last_turn_left_is_a_hit_whatever_else_is_known(
    evidence: CacheEvidence, cached: int
) -> None:
    known = replace(evidence, before="a", before_tokens=min(evidence.before_tokens, cached))
    assert found(known, cached) == "hit"
