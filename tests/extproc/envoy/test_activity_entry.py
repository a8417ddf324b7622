"""What the activity service is told of a request."""

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from msgspec.structs import replace
from tests.extproc.conftest import Make
from tests.extproc.envoy.log_world import NOW, RECORD, as_read, entry, note

from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord, encode_batch
from limpet_extproc.contract.envoy import PATH_STATE
from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import CacheEvidence, Record, TurnsBefore
from limpet_extproc.decision.bills import bill
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.envoy import log_entry
from limpet_extproc.envoy.activity_entry import MOST_CONSIDERED, EndedRequest, activity_record, traceparent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def told(lane: Lane | None = None, record: Record | None = RECORD, **fields: Any) -> ActivityRecord:
    """The record of an entry, read as outcomes read it."""
    built = entry(record=record, **fields)
    built.common_properties.start_time.FromMilliseconds(int(NOW * 1000))
    logged = as_read(built)
    noted = log_entry.noted_in(logged.common_properties)
    attempts, _ = log_entry.attempts_of(logged, log_entry.trail_in(noted), record, NOW)
    usage = log_entry.usage_of(noted)
    provider = logged.common_properties.upstream_cluster
    found = bill(lane, provider, record, usage) if lane and record and usage else None
    reason = log_entry.reason_of(logged, noted, record)
    ended = replace(ended_of(logged, reason, record), attempts=attempts, usage=usage, bill=found)
    return activity_record(logged, ended, lane, "0f01", "gateway-0")


def ended_of(logged: Any, reason: str, record: Record | None = None) -> EndedRequest:
    """Of a request without attempts."""
    common = logged.common_properties
    streamed = record is not None and record.streamed
    left = log_entry.trail_in(log_entry.noted_in(common))
    times = log_entry.times_of(common, left, streamed=streamed)
    return EndedRequest(reason, times, record)


def test_an_answer_is_told_with_who_gave_it_its_tokens_and_its_dollars(make: Make) -> None:
    lane = make.lane(make.provider("a"), make.provider("b"), make.provider("c"))
    record = replace(RECORD, tenant="7e", policy="default", streamed=True, cache=CacheEvidence(expected=(3900, 0, 0)))
    got = told(lane, record)
    assert (got.id, got.gateway, got.time_s, got.duration_s, got.status) == ("0f01", "gateway-0", NOW, 1.5, 200)
    assert (got.reason, got.provider, got.model, got.tenant, got.policy) == (
        "first.scored",
        "a",
        "flash",
        "7e",
        "default",
    )
    assert (got.conversation, got.identified_by, got.kind, got.streamed) == (
        RECORD.key.hex(),
        "fingerprint",
        "conversation",
        True,
    )
    assert (got.prompt_tokens, got.cached_tokens, got.output_tokens, got.expected_tokens) == (5000, 3840, 10, 3900)
    assert got.paid_usd == pytest.approx((1160 * 0.15 + 3840 * 0.003 + 10 * 0.6) / 1e6)
    assert got.uncached_usd == pytest.approx((5000 * 0.15 + 10 * 0.6) / 1e6)


def test_each_candidate_is_told_with_what_was_warm_and_what_it_would_have_cost(make: Make) -> None:
    dear = Price(input=1.0, output=2.0, cache_read=0.1, cache_write=1.25)
    lane = make.lane(make.provider("a"), make.provider("b", price=dear), make.provider("c", price=None))
    record = replace(RECORD, cache=CacheEvidence(expected=(3900, 1000, 0)), excluded={"d": "down", "b": "degraded"})
    got = told(lane, record)
    a, b, c, d = got.considered
    assert (a.provider, a.warm_tokens, a.usd, a.warm_until_s) == ("a", 3900, got.paid_usd, NOW - 10 + 300)
    # What is not warm is written to its cache, at the price of writing.
    assert b.usd == pytest.approx((1000 * 0.1 + 4000 * 1.25 + 10 * 2.0) / 1e6)
    assert (b.passed_over, b.warm_tokens) == ("degraded", 1000)
    assert (c.usd, c.warm_until_s) == (None, 0.0)
    assert (d.provider, d.passed_over, d.warm_tokens, d.usd) == ("d", "down", None, None)


def test_very_many_candidates_are_cut_off(make: Make) -> None:
    names = tuple(f"p{number}" for number in range(40))
    record = replace(RECORD, order=names, ttls_s=(300.0,) * 40, excluded={"z": "down"})
    assert len(told(make.lane(make.provider("p0")), record, provider="p0").considered) == MOST_CONSIDERED


def test_attempts_have_their_times_and_causes() -> None:
    notes = {1: note("a", 401, "CredentialRefused", message="bad key sk-abcdefghijklmnop1234")}
    built = entry("b", 200, attempts=2, notes=notes)
    common = built.common_properties
    common.time_to_last_rx_byte.FromMilliseconds(10)
    common.time_to_last_upstream_rx_byte.FromMilliseconds(900)
    common.metadata.filter_metadata["limpet.trail"].update({"all_began_ms": "250 "})
    logged = as_read(built)
    attempts, _ = log_entry.attempts_of(
        logged, log_entry.trail_in(log_entry.noted_in(logged.common_properties)), RECORD, NOW
    )
    got = activity_record(logged, replace(ended_of(logged, "first.scored", RECORD), attempts=attempts), None, "1", "g")
    first, second = got.attempts
    assert (first.provider, first.outcome, first.status, first.cause) == ("a", "failed", 401, "CredentialRefused")
    assert (first.begun_s, round(first.took_s or 0, 6)) == (0.01, 0.24)
    assert (second.provider, second.outcome) == ("b", "ok")
    assert (second.begun_s, round(second.took_s or 0, 6)) == (0.25, 0.65)
    assert (got.provider, got.error) == ("b", "")


def test_a_request_that_nobody_answered_says_why_the_last_one_did_not() -> None:
    got = told(notes={1: note("a", 503, "ServerError", message="out of memory")}, status=503, usage=None)
    assert (got.provider, got.error, got.paid_usd, got.prompt_tokens) == ("a", "ServerError", None, None)


@pytest.mark.parametrize("said", ["'content': 'my diagnosis'", "wrong key: token-abc123", "k e y"])
@pytest.mark.parametrize("cause", ["CredentialRefused", "ServerError"])
def test_nothing_that_a_provider_says_is_in_a_record(said: str, cause: str) -> None:
    got = told(notes={1: note("a", 400, cause, message=said)}, status=400, usage=None)
    assert got.attempts[0].status == 400
    assert said.encode() not in encode_batch(ActivityBatch(VERSION, "g", 0, 0, 0.0, [got]))


def test_a_key_in_a_path_that_nobody_serves_is_blanked() -> None:
    built = entry(record=None, provider="", usage=None)
    built.request.path = "/sk-abcdefghijklmnop1234/v1/chat"
    logged = as_read(built)
    got = activity_record(logged, ended_of(logged, "refused.unknown_path"), None, "1", "g")
    assert got.path == "/[key]/v1/chat"


@pytest.mark.parametrize(
    ("noted", "sent", "path"),
    [
        ("/v1/messages?beta=true", "/anthropic/v1/messages", "/v1/messages"),
        ("/anthropic/v1/messages", "/inference/messages", "/v1/messages"),
        ("/openai/deployments/gpt/chat/completions?api-version=1", "/untranslated/x", "/v1/chat/completions"),
        ("", "/chat/completions?key=secret", "/v1/chat/completions"),
        ("", "", ""),
    ],
)
def test_the_path_of_a_request_that_was_read_is_that_of_the_api(noted: str, sent: str, path: str) -> None:
    built = entry()
    built.request.path = sent
    if noted:
        built.common_properties.filter_state_objects[PATH_STATE].Pack(StringValue(value=noted))
    logged = as_read(built)
    assert activity_record(logged, ended_of(logged, "sticky.hit", RECORD), None, "1", "g").path == path


def test_a_refusal_is_told_with_what_was_wrong() -> None:
    got = told(
        record=None, provider="", status=404, usage=None, details="limpet_refused.unknown_model:model:nobody/knows"
    )
    assert (got.reason, got.status, got.error, got.model) == ("refused.unknown_model", 404, "model", "nobody/knows")
    assert (got.provider, got.attempts, got.considered, got.conversation) == ("", [], (), "")


@pytest.mark.parametrize(
    ("details", "named"),
    [
        ("limpet_refused.over_key_limit:requestsPerMinute:flash:ci", ("requestsPerMinute", "flash", "ci")),
        ("limpet_refused.model_not_allowed:model:pro:ci", ("model", "pro", "ci")),
        ("limpet_refused.model_not_allowed:::ci", ("", "", "ci")),
        ("limpet_refused.unauthorized", ("", "", "")),
        ("via_upstream", ("", "", "")),
    ],
)
def test_a_refusal_by_a_key_is_told_with_its_client_and_limit(details: str, named: tuple[str, str, str]) -> None:
    got = told(record=None, provider="", status=429, usage=None, details=details)
    assert (got.error, got.model, got.client) == named


def test_the_path_is_told_without_its_query_and_not_beyond_its_bound() -> None:
    built = entry(record=None, provider="", usage=None)
    built.request.path = "/v1/" + "x" * 300 + "?key=secret"
    logged = as_read(built)
    path = activity_record(logged, ended_of(logged, "refused.unknown_path"), None, "1", "g").path
    assert (len(path), "secret" in path) == (200, False)


def test_a_request_without_a_conversation_has_none() -> None:
    assert told(record=replace(RECORD, identified_by="", kind="stateless")).conversation == ""


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (TRACE, True),
        ("", False),
        (TRACE.upper(), False),
        (TRACE.replace("00-", "ff-", 1), False),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", False),
        (TRACE + " <script>", False),
        ("my prompt", False),
    ],
)
def test_only_a_valid_trace_is_taken(text: str, valid: bool) -> None:
    assert traceparent(text) == (text if valid else "")
    assert told(record=replace(RECORD, traceparent=text)).traceparent == (text if valid else "")


def test_where_enforce_would_have_stayed_its_cache_is_taken_to_be_warm(make: Make) -> None:
    lane = make.lane(make.provider("a"), make.provider("b"), mode="Observe")
    record = replace(
        RECORD,
        reason="observe.spread",
        enforce_reason="sticky.hit",
        enforce_provider="b",
        order=("a", "b"),
        ttls_s=(300.0, 300.0),
        cache=CacheEvidence(expected=(0, 4000), before="b", before_tokens=4000, compared=True, shared_tokens=4000),
        before=TurnsBefore(turns=3, last_gap_s=20.0, gap_s=20.0, growth_tokens=500.0),
    )
    got = told(lane, record, usage={"prompt": 5000.0, "cached": 0.0, "output": 10.0})
    assert (got.enforce_reason, got.enforce_provider) == ("sticky.hit", "b")
    assert got.observed_usd == pytest.approx((1000 * 0.15 + 4000 * 0.003 + 10 * 0.6) / 1e6)
    assert got.paid_usd == pytest.approx((5000 * 0.15 + 10 * 0.6) / 1e6)
    assert told(lane, replace(record, enforce_reason=None, enforce_provider="")).observed_usd is None
