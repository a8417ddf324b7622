"""What a span tells of a request, and that nothing makes one that OTLP cannot carry."""

from collections.abc import Mapping
from math import inf, nan
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, DEFAULT_ON
from opentelemetry.trace import SpanKind
from tests.activity.export.records import RECORD

from limpet_activity.export.otlp_encoding import encoded
from limpet_activity.export.span_attributes import operation, provider_name
from limpet_activity.export.spans import spans_of
from limpet_extproc.contract.activity import ActivityRecord, TriedProvider

spans = spans_of(Resource({}), DEFAULT_ON)
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def but(**changes: Any) -> ActivityRecord:
    return msgspec.structs.replace(RECORD, **changes)


def attributes(record: ActivityRecord) -> Mapping[str, object]:
    return dict(spans(record)[0].attributes or {})


def test_a_request_is_a_span_by_the_conventions() -> None:
    request, *_ = spans(RECORD)
    assert request.name == "chat deepseek/small"
    assert request.kind is SpanKind.SERVER
    assert (request.start_time, request.end_time) == (1_700_000_000_500_000_000, 1_700_000_002_500_000_000)
    assert attributes(RECORD) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "deepseek",
        "gen_ai.request.model": "deepseek/small",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "c0ffee",
        "gen_ai.response.time_to_first_chunk": 0.7,
        "gen_ai.usage.input_tokens": 5000,
        "gen_ai.usage.output_tokens": 70,
        "gen_ai.usage.cache_read.input_tokens": 4000,
        "gen_ai.usage.cache_write.input_tokens": 900,
        "gen_ai.usage.cache_creation.input_tokens": 900,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "limpet.record.id": "1f0c",
        "limpet.gateway": "laptop",
        "limpet.decision": "sticky.failover",
        "limpet.provider": "deepseek-eu",
        "limpet.attempts": 2,
        "limpet.api": "OpenAIChat",
        "limpet.policy": "default",
        "limpet.tenant": "7e",
        "limpet.client": "team-a",
        "limpet.identified_by": "header",
        "limpet.first_byte_s": 0.7,
        "limpet.cache.cause": "moved(failed)",
        "limpet.cache.expected_tokens": 4096,
        "limpet.cost.paid_usd": 0.001,
        "limpet.cost.uncached_usd": 0.004,
    }


def test_each_attempt_is_a_span_below_it() -> None:
    request, failed, answered = spans(RECORD)
    assert request.context is not None
    for number, attempt in enumerate((failed, answered)):
        assert attempt.parent == request.context
        assert attempt.context is not None
        assert attempt.context.trace_id == request.context.trace_id
        assert attempt.kind is SpanKind.CLIENT
        assert not any(name.startswith("gen_ai.") for name in attempt.attributes or {}), number
    assert (failed.name, failed.start_time, failed.end_time) == (
        "attempt alpha",
        1_700_000_000_600_000_000,
        1_700_000_001_000_000_000,
    )
    assert dict(failed.attributes or {}) == {
        "limpet.provider": "alpha",
        "limpet.attempt.outcome": "failed",
        "http.response.status_code": 503,
        "error.type": "ServerError",
    }
    assert (failed.status.is_ok, answered.status.is_unset) == (False, True)
    assert (answered.attributes or {})["http.request.resend_count"] == 1


def test_a_repeat_gives_the_same_spans() -> None:
    assert [span.context for span in spans(RECORD)] == [span.context for span in spans(but(duration_s=9.0))]
    others = spans(but(id="another"))
    assert all(span.context not in [other.context for other in others] for span in spans(RECORD))


def test_it_belongs_to_the_trace_of_its_client() -> None:
    request, attempt, _ = spans(but(traceparent=f"00-{TRACE}-{SPAN}-01"))
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == SPAN
    assert attempt.context is not None
    assert f"{attempt.context.trace_id:032x}" == TRACE


def test_a_trace_that_its_client_does_not_sample_is_not_sent() -> None:
    unsampled = but(traceparent=f"00-{TRACE}-{SPAN}-00")
    assert not spans(unsampled)
    assert not spans_of(Resource({}), ALWAYS_OFF)(RECORD)
    assert spans_of(Resource({}), ALWAYS_ON)(unsampled)


@pytest.mark.parametrize(
    ("changes", "error", "is_error"),
    [
        ({}, None, False),
        ({"status": 429, "attempts": (TriedProvider("a", "limited", 429, "Limited"),)}, "Limited", False),
        ({"status": 503, "attempts": (TriedProvider("a", "failed", 0, "Timeout"),)}, "Timeout", True),
        ({"status": 400, "attempts": (), "provider": ""}, "400", False),
        ({"status": 0, "attempts": ()}, "client_left", True),
        ({"status": 0, "attempts": (TriedProvider("a", "client_left"),)}, "client_left", False),
    ],
)
def test_errors_have_a_type_and_are_the_gateways_from_500_on(
    changes: Mapping[str, Any], error: str | None, is_error: bool
) -> None:
    record = but(**changes)
    assert attributes(record).get("error.type") == error
    assert spans(record)[0].status.is_ok is not is_error
    assert spans(record)[0].status.is_unset is not is_error


def test_no_text_of_an_error_is_sent() -> None:
    assert b"words of a prompt" not in encoded(spans(RECORD))


@pytest.mark.parametrize(
    ("api", "kind", "is_called"),
    [
        ("OpenAIChat", "conversation", "chat"),
        ("OpenAIResponses", "conversation", "chat"),
        ("AnthropicMessages", "counting", "count_tokens"),
        ("embeddings", "stateless", "embeddings"),
        ("completions", "stateless", "text_completion"),
        ("images", "stateless", "images"),
        ("", None, ""),
    ],
)
def test_what_was_asked_for_has_the_word_of_the_conventions(api: str, kind: Any, is_called: str) -> None:
    assert operation(but(api=api, kind=kind)) == is_called


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "openai"),
        ("team-ns/anthropic-eu", "anthropic"),
        ("bedrock-us-east", "aws.bedrock"),
        ("xai", "x_ai"),
        ("seller-b", "seller-b"),
        ("openairoute", "openairoute"),
        ("", "limpet"),
    ],
)
def test_a_provider_has_the_well_known_name_if_its_own_begins_with_it(provider: str, name: str) -> None:
    assert provider_name(provider) == name


def test_attempts_without_times_last_as_long_as_the_request() -> None:
    request, attempt = spans(but(attempts=(TriedProvider("a", "ok", 200),)))
    assert (attempt.start_time, attempt.end_time) == (request.start_time, request.end_time)


NUMBER = st.floats() | st.sampled_from([nan, inf, -inf, 1e300, -1e300])
TOKENS = st.none() | st.integers(-(2**63), 2**64 - 1)


@given(NUMBER, NUMBER, NUMBER | st.none(), NUMBER | st.none(), TOKENS, st.text(), st.integers(-(2**63), 2**64 - 1))
def test_absurd_numbers_make_spans_that_can_be_sent(
    time_s: float,
    duration_s: float,
    begun_s: float | None,
    took_s: float | None,
    tokens: int | None,
    model: str,
    status: int,
) -> None:
    tried = TriedProvider("a", "failed", status, "", begun_s, took_s)
    record = but(
        time_s=time_s,
        duration_s=duration_s,
        attempts=(tried,),
        prompt_tokens=tokens,
        model=model,
        status=status,
        paid_usd=duration_s,
    )
    sent = spans(record)
    encoded(sent)
    for span in sent:
        assert span.start_time is not None
        assert span.end_time is not None
        assert 0 <= span.start_time <= span.end_time
