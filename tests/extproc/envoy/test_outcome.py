"""What becomes of memory, averages and counters by the entries of the access log."""

import asyncio
from typing import Any

import pytest
from envoy.service.accesslog.v3 import als_pb2
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.extproc.envoy.log_world import KEY, NOW, RECORD, USAGE, Call, World, bad, entry, note

from limpet_extproc.contract.record import CacheEvidence
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import LastFailure, Remembered, Warm
from limpet_extproc.providers.limit_events import RequestEnded, RequestSent
from limpet_extproc.request.pins import Found


async def test_the_provider_that_served_is_remembered_from_the_start_of_the_request(world: World) -> None:
    await world.take(entry("a"))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 5000),)


async def test_of_a_prompt_that_is_cached_only_in_part_it_is_remembered_how_much(world: World) -> None:
    await world.take(entry("a", usage={**USAGE, "written": 60.0}))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 5000, 3900),)


async def test_a_provider_that_served_after_others_failed_takes_over_and_they_stay_behind_it(world: World) -> None:
    await world.take(entry("a"), entry("b", attempts=2))
    assert [(warm.provider, warm.until_s) for warm in await world.warm()] == [
        ("b", RECORD.started_s + 60.0),
        ("a", RECORD.started_s + 300.0),
    ]


async def test_a_provider_that_failed_is_forgotten_where_the_one_that_served_is_not_remembered(world: World) -> None:
    await world.take(entry("a"), entry("c", attempts=3, notes={1: note("a", 500, "ServerError")}))
    assert await world.warm() == ()
    assert await world.failed() == ("a", "b")


async def test_where_no_provider_served_all_that_failed_are_forgotten_and_avoided(world: World) -> None:
    notes = {1: note("a", 500, "ServerError"), 2: note("b", 503, "Overloaded")}
    await world.take(entry("a"), entry("b"), entry("b", 503, attempts=2, notes=notes, usage=None))
    assert await world.warm() == ()
    assert await world.failed() == ("a", "b")


async def test_a_success_ends_what_failed_before(world: World) -> None:
    await world.take(bad("a", 500, "ServerError"))
    assert await world.memory.lookup(KEY, NOW) == Remembered((), None, LastFailure(("a",), NOW))
    await world.take(entry("b"))
    assert await world.failed() == ()


async def test_a_success_where_staying_does_not_pay_leaves_what_failed_elsewhere(world: World) -> None:
    await world.take(bad("a", 500, "ServerError"), entry("c"))
    assert await world.failed() == ("a",)
    await world.take(entry("a", record=replace(RECORD, ttls_s=(0.0, 0.0, 0.0))))
    assert await world.failed() == ()


async def test_a_provider_that_fails_before_the_client_leaves_is_avoided_and_the_one_it_leaves_is_not(
    world: World,
) -> None:
    await world.take(entry("b", 0, attempts=2, notes={1: note("a", 500, "ServerError")}))
    assert await world.failed() == ("a",)


async def test_one_more_try_at_the_same_provider_does_not_count_against_it(world: World) -> None:
    twice = replace(RECORD, tries=2)
    await world.take(entry("a"), entry("a", record=twice, attempts=2))
    assert [warm.provider for warm in await world.warm()] == ["a"]


@pytest.mark.parametrize(
    ("last", "left"),
    [
        (bad("a", 500, "ServerError"), []),
        (bad("a", 429, "Limited"), []),
        (bad("a", 429, "Limited", retry_after="7"), []),
        (bad("a", 308, "Redirected"), []),
        (bad("a", 200, "ErrorInAnswer"), []),
        (bad("a", 204, "NotAnAnswer"), []),
        (bad("a", 400, "CredentialRefused"), []),
        (entry("a", 0, flags=("upstream_remote_reset",)), []),
        (entry("a", 0), ["a"]),  # the client left: no failure
        (bad("a", 400, "BadRequest"), ["a"]),  # the request's own fault
        (entry("", 503), ["a"]),  # no provider was asked
        (bad("a", 500, "ServerError", record=None), ["a"]),  # no record: whose conversation it was is unknown
        (entry("c"), ["a"]),  # served where staying does not pay
    ],
)
async def test_a_failure_forgets_and_nothing_else_does(world: World, last: Any, left: list[str]) -> None:
    await world.take(entry("a"), last)
    assert [warm.provider for warm in await world.warm()] == left
    assert await world.failed() == (() if left else ("a",))


async def test_without_usage_the_estimate_is_remembered_and_the_lack_counted(world: World) -> None:
    await world.take(entry("a", usage=None))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 1000, 0),)
    assert world.counted("limpet_usage_unreported_total", provider="a") == 1
    assert world.counted("limpet_cached_tokens_total", provider="a", model="flash") == 0


async def test_a_request_that_teaches_nothing_is_still_counted_and_shown(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, learn=False)))
    assert await world.warm() == ()
    assert world.caches.refresh()["a"].warm == b""
    assert world.counted("limpet_requests_total", provider="a", decision="first.scored", outcome="ok") == 1
    assert len(world.shown) == 1


async def test_tokens_are_counted_as_the_provider_reported_them(world: World) -> None:
    await world.take(entry("a"))
    labels = {"provider": "a", "model": "flash"}
    assert world.counted("limpet_prompt_tokens_total", **labels) == 5000
    assert world.counted("limpet_cached_tokens_total", **labels) == 3840
    assert world.counted("limpet_output_tokens_total", **labels) == 10
    assert world.shown == [("a", 200, TokenUsage(5000, 3840, 10), 1.5)]
    cache = world.caches.refresh()["a"]
    assert (cache.prompt_tokens, cache.cached_tokens, sum(rank > 0 for rank in cache.warm)) == (5000, 3840, 1)


async def test_why_it_read_what_it_read_is_counted_and_shown(world: World) -> None:
    known = CacheEvidence(expected=(4000, 0, 0), before="a", before_tokens=4000, before_until_s=NOW, compared=True)
    over = replace(known, expected=(0, 0, 0), before_until_s=NOW - 60)
    records = [replace(RECORD, cache=each) for each in (known, over, CacheEvidence(expected=(0, 0, 0)))]
    await world.take(entry("a", record=records[0]))
    await world.take(*(entry("a", record=each, usage={**USAGE, "cached": 0.0}) for each in records[1:]))
    await world.take(entry("a", record=records[0], usage=None), bad("a", 500, "ServerError", record=records[0]))
    causes = ["hit", "ttl_expired", "cold_start", "unreported"]
    assert [str(each.finding) for each in world.summaries] == [*causes, "None"]
    labels = {"provider": "a", "model": "flash"}
    assert [world.counted("limpet_cache_causes_total", **labels, cause=each) for each in causes] == [1] * 4


async def test_what_was_written_and_thought_is_counted_where_it_was_reported(world: World) -> None:
    labels = {"provider": "a", "model": "flash"}
    await world.take(entry("a"))
    for name in ("cache_written", "cache_written_long", "reasoning"):
        assert world.registry.get_sample_value(f"limpet_{name}_tokens_total", labels) is None
    await world.take(entry("a", usage={**USAGE, "written": 64.0, "written_long": 24.0, "reasoning": 7.0}))
    assert world.counted("limpet_cache_written_tokens_total", **labels) == 64
    assert world.counted("limpet_cache_written_long_tokens_total", **labels) == 24
    assert world.counted("limpet_reasoning_tokens_total", **labels) == 7


async def test_a_providers_message_is_kept_without_the_key_in_it(world: World) -> None:
    message = "Incorrect API key provided: sk-abc****wxyz.\nSee the docs."
    await world.take(entry("a", 503, notes={1: note("a", 401, "CredentialRefused", message=message)}))
    failure = world.complaints.standing("a", "", NOW)
    assert failure is not None
    assert (failure.status, failure.cause) == (401, "CredentialRefused")
    assert failure.message == "Incorrect API key provided: [key] See the docs."


async def test_cached_tokens_that_were_not_reported_are_no_zero(world: World) -> None:
    labels = {"provider": "a", "model": "flash"}
    await world.take(entry("a", usage={"prompt": 900.0, "output": 5.0}))
    assert world.registry.get_sample_value("limpet_cached_tokens_total", labels) is None
    assert world.counted("limpet_cache_unreported_tokens_total", **labels) == 900
    assert world.caches.refresh()["a"].prompt_tokens == 0


async def test_a_whole_answer_without_usage_is_none_where_the_vendor_always_reports_it(world: World) -> None:
    record = replace(RECORD, order=("reporting",))
    await world.take(entry("reporting", record=record), entry("reporting", record=record, usage=None))
    assert world.tried[-1] == ["reporting 200"]
    assert await world.warm() == ()
    assert world.counted("limpet_attempts_total", provider="reporting", outcome="failed_200") == 1
    last = world.complaints.last("reporting", "flash")
    assert last is not None
    assert last.cause == "NotAnAnswer"
    await world.take(entry("reporting", record=replace(record, streamed=True), usage=None))
    assert [warm.provider for warm in await world.warm()] == ["reporting"], "a stream has it only if it is asked for"


async def test_a_request_that_is_no_turn_needs_no_usage(world: World) -> None:
    record = replace(RECORD, order=("reporting",), kind="stateless", api="audio", learn=False)
    await world.take(entry("reporting", record=record, usage=None))
    assert world.counted("limpet_attempts_total", provider="reporting", outcome="ok") == 1
    assert world.counted("limpet_usage_unreported_total", provider="reporting") == 0


async def test_a_stream_is_as_fast_as_its_first_token_not_its_first_byte(world: World) -> None:
    built = entry("a", first_byte_s=0.25, record=replace(RECORD, streamed=True))
    built.common_properties.metadata.filter_metadata["limpet.trail"].update({"first_token_ms": 1500})
    await world.take(built)
    assert world.tracker.states.speeds["flash"]["a"].first_token_s == pytest.approx(1.75)


async def test_how_long_clients_wait_is_observed_for_who_answered(world: World) -> None:
    streamed = entry("a", record=replace(RECORD, streamed=True))
    streamed.common_properties.time_to_first_downstream_tx_byte.FromMilliseconds(100)
    streamed.common_properties.metadata.filter_metadata["limpet.trail"].update({"first_token_ms": 800})
    await world.take(streamed, entry("b"), entry("b", 500))

    def summed(name: str, provider: str) -> float | None:
        return world.counted(f"limpet_{name}_seconds_sum", provider=provider, model="flash")

    assert summed("time_to_first_byte", "a") == pytest.approx(0.9)
    assert (summed("request_duration", "a"), summed("request_duration", "b")) == (1.5, 1.5)


async def test_how_many_tokens_a_prompt_had_corrects_the_estimates_of_its_model(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, prompt_tokens=2_000)))  # it reports 5,000
    assert world.tracker.states.token_rates == {"flash": 2.5}


async def test_a_log_message_that_is_none_is_counted_and_the_next_one_read(world: World) -> None:
    message = als_pb2.StreamAccessLogsMessage()
    message.http_logs.log_entry.append(entry("a"))
    await world.outcomes.stream(Call(b"\xff\xff", message.SerializeToString()))
    assert world.counted("limpet_extproc_failures_total") == 1
    assert [warm.provider for warm in await world.warm()] == ["a"]


async def test_an_entry_that_cannot_be_used_is_counted_and_the_next_one_taken(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(RECORD, order=())
    await world.take(entry("a", record=broken), entry("b"))
    assert [warm.provider for warm in await world.warm()] == ["b"]
    assert world.counted("limpet_extproc_failures_total") == 1
    assert "please report this" in caplog.text


@pytest.mark.parametrize(
    ("built", "outcome", "tried"),
    [
        (entry(status=200), "ok", "a 200"),
        (entry(status=302), "failed", "a 302"),
        (entry(status=204), "failed", "a 204"),
        (entry(status=101), "failed", "a 101"),
        (entry(status=422), "refused", "a 422"),
        (entry(status=500), "failed", "a 500"),
        (entry(status=0), "client_left", "a "),
        (entry(status=0, flags=("downstream_connection_termination",)), "client_left", "a "),
        (entry(status=503, flags=("upstream_connection_failure",)), "failed", "a ConnectionFailed"),
        (entry(status=200, flags=("upstream_remote_reset",)), "failed", "a 200"),  # broke off within its answer
        (entry(status=504, flags=("upstream_request_timeout",)), "failed", "a Timeout"),
    ],
)
async def test_an_attempt_that_nothing_was_noted_of_ended_as_envoy_says(
    world: World, built: Any, outcome: str, tried: str
) -> None:
    await world.take(built)
    assert world.counted("limpet_requests_total", provider="a", decision=RECORD.reason, outcome=outcome) == 1
    assert world.tried == [[tried]]


@given(
    notes=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=4) | st.integers(-2, 20).map(str),
        st.fixed_dictionaries(
            {},
            optional={
                key: st.one_of(
                    st.text(st.characters(codec="utf-8"), max_size=30), st.floats(), st.booleans(), st.none()
                )
                for key in ("provider", "status", "verdict", "cause", "says", "retry_after")
            },
        ),
        max_size=5,
    ),
    usage=st.dictionaries(
        st.sampled_from(["prompt", "cached", "written", "output", "x"]), st.floats() | st.text(max_size=3)
    ),
    status=st.integers(0, 999),
    attempts=st.integers(0, 12),
)
def test_no_number_and_no_word_of_a_provider_breaks_what_is_learned(
    notes: dict[Any, Any], usage: dict[str, Any], status: int, attempts: int
) -> None:
    world = World()
    asyncio.run(world.take(entry("a", status, notes=notes, usage=usage, attempts=attempts)))
    assert world.counted("limpet_extproc_failures_total") == 0
    use = world.caches.refresh().get("a")
    assert use is None or 0 <= use.cached_tokens <= use.prompt_tokens


def answered_here(word: str, status: int, details: str = "direct_response") -> Any:
    """What Envoy answered itself: no provider is in the entry, and its own word is in the response."""
    built = entry("", status, record=None, details=details)
    built.request.path = "/v1/models?key=secret"
    built.request.request_method = 1
    built.common_properties.metadata.filter_metadata["limpet.decision"].update({"reason": "fallback.undecided"})
    if word:
        built.response.response_headers["x-limpet-decision"] = word
    return built


@pytest.mark.parametrize(
    ("word", "status", "details", "reason"),
    [
        ("refused.unknown_path", 404, "direct_response", "refused.unknown_path"),
        ("refused.too_large", 413, "request_payload_too_large", "refused.too_large"),
        ("refused.bad_request", 400, "limpet_refused.bad_request", "refused.bad_request"),
        ("", 400, "limpet_refused.unknown_model", "refused.unknown_model"),
        ("", 400, "limpet_refused.unknown_model:model:gpt", "refused.unknown_model"),
    ],
)
async def test_what_was_refused_before_any_provider_has_a_line_and_is_counted(
    world: World, word: str, status: int, details: str, reason: str
) -> None:
    await world.take(answered_here(word, status, details))
    (summary,) = world.summaries
    assert (summary.reason, summary.status, summary.method, summary.record) == (reason, status, "GET", None)
    assert (summary.field, summary.model) == (("model", "gpt") if details.endswith(":gpt") else ("", ""))
    assert world.counted("limpet_requests_total", provider="none", decision=reason, outcome="refused") == 1
    assert world.counted("limpet_attempts_total", provider="", outcome="refused") == 0


async def test_lists_have_a_line_and_checks_of_health_have_none_and_neither_is_a_request(world: World) -> None:
    await world.take(answered_here("answered.models", 200), answered_here("answered.health", 200))
    assert [summary.reason for summary in world.summaries] == ["answered.models"]
    assert world.counted("limpet_requests_total", provider="none", decision="answered.models", outcome="ok") == 0


async def test_a_refused_key_is_a_complaint_until_the_provider_answers(world: World) -> None:
    await world.take(entry("b", attempts=2, notes={1: note("a", 401, "CredentialRefused", message="no such key")}))
    standing = world.complaints.standing("a", "", NOW)
    assert standing is not None
    assert (standing.cause, standing.status, standing.message) == ("CredentialRefused", 401, "no such key")
    assert world.complaints.standing("b", "", NOW) is None
    await world.take(entry("a"))
    assert world.complaints.standing("a", "", NOW) is None


async def test_limits_hear_of_a_failover_at_once_and_of_every_end(world: World) -> None:
    failed = {1: note("a", 503, "ServerError")}
    await world.take(entry("b", 0, attempts=2, notes=failed, under_way=True, usage=None))
    began = RECORD.started_s
    assert world.limit_events == [RequestEnded("a", began, -1000), RequestSent("b", began, 1000)]
    await world.take(entry("b", attempts=2, notes=failed))
    assert world.limit_events[2:] == [RequestEnded("b", began, 4010)]


async def test_limits_hear_of_a_request_that_left_before_it_was_tried(world: World) -> None:
    await world.take(entry("", 0, usage=None))
    assert world.limit_events == [RequestEnded("a", RECORD.started_s, -1000)]


@pytest.mark.parametrize("flags", [(), ("downstream_connection_termination",)])
async def test_what_an_answer_made_is_pinned_to_who_made_it_even_if_the_client_left(
    world: World, flags: tuple[str, ...]
) -> None:
    kept = replace(RECORD, owner="me", api="OpenAIResponses")
    await world.take(entry("b", record=kept, made="resp_1", flags=flags), entry("a", made="resp_2"), entry("a"))
    assert await world.pins.find("me", "resp_1", patiently=False) == Found("b")
    assert await world.pins.find("me", "resp_2", patiently=False) == Found()
    await world.take(entry("b", record=kept, made="msg_1,msg_2", flags=flags))
    assert await world.pins.find("me", "msg_2", patiently=False) == Found("b")


@pytest.mark.parametrize(("status", "cause", "out"), [(500, "ServerError", None), (401, "CredentialRefused", "down")])
async def test_what_becomes_of_objects_shows_nothing_but_what_concerns_the_whole_provider(
    world: World, status: int, cause: str, out: str | None
) -> None:
    record = replace(RECORD, order=("a",), kind="object", api="files", model="", learn=False)
    for _ in range(5):
        await world.take(bad("a", status, cause, record=record, usage=None))
    state = world.tracker.states.health.get("a")
    assert (state.trouble if state else None) == out
    await world.take(entry("a", record=record, usage=None))
    after = world.tracker.states.health.get("a")
    assert after == state, "a file that can be read says nothing about completions"


async def test_the_usage_of_a_response_that_is_read_again_is_not_counted_again(world: World) -> None:
    record = replace(RECORD, order=("a",), kind="object", api="OpenAIResponses", model="", learn=False)
    await world.take(entry("a", record=record))
    assert world.counted("limpet_prompt_tokens_total", provider="a", model="") == 0
    assert world.summaries[-1].usage is None
