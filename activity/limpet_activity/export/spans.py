"""The spans of a record: one of the request, and below it one of each attempt. Pure."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import set_span_in_context

from limpet_activity.export import trace_context
from limpet_activity.export.span_attributes import (
    SERVER_ERROR,
    attempt_attributes,
    operation,
    request_attributes,
)
from limpet_extproc.contract.activity import ActivityRecord, TriedProvider

Spans = Callable[[ActivityRecord], Sequence[ReadableSpan]]

_SCOPE: Final = InstrumentationScope("limpet", schema_url="https://opentelemetry.io/schemas/1.44.0")
_NS: Final = 1_000_000_000
_LAST_S: Final = 9_000_000_000
"""A little below what OTLP's nanoseconds can say."""


def spans_of(resource: Resource, sampler: Sampler) -> Spans:
    """From a record to its spans, none where it is not sampled; the same record gives the same ones."""

    def spans(record: ActivityRecord) -> Sequence[ReadableSpan]:
        client = trace_context.client_context(record.traceparent)
        trace = client.trace_id if client is not None else trace_context.trace_id(record.id)
        attributes, what = request_attributes(record), operation(record)
        name = f"{what} {record.model}".strip() or "request"
        parent = set_span_in_context(NonRecordingSpan(client)) if client is not None else None
        sampled = sampler.should_sample(parent, trace, name, SpanKind.SERVER, attributes)
        if sampled.decision is not Decision.RECORD_AND_SAMPLE:
            return ()
        flags = TraceFlags(TraceFlags.SAMPLED)
        of_request = SpanContext(trace, trace_context.span_id(record.id, "request"), False, flags)
        begin_s, end_s = _within(record.time_s, record.duration_s, 0.0, _LAST_S)
        found = [
            ReadableSpan(
                name,
                of_request,
                client,
                resource,
                attributes,
                kind=SpanKind.SERVER,
                status=_status(record.status >= SERVER_ERROR or _unanswered(record)),
                start_time=_ns(begin_s),
                end_time=_ns(end_s),
                instrumentation_scope=_SCOPE,
            )
        ]
        for number, attempt in enumerate(record.attempts):
            attempt_begin_s, attempt_end_s = _times(attempt, record, begin_s, end_s)
            found.append(
                ReadableSpan(
                    f"attempt {attempt.provider}",
                    SpanContext(trace, trace_context.span_id(record.id, f"attempt {number}"), False, flags),
                    of_request,
                    resource,
                    attempt_attributes(attempt, number),
                    kind=SpanKind.CLIENT,
                    status=_status(attempt.outcome != "ok"),
                    start_time=_ns(attempt_begin_s),
                    end_time=_ns(attempt_end_s),
                    instrumentation_scope=_SCOPE,
                )
            )
        return found

    return spans


def _unanswered(record: ActivityRecord) -> bool:
    left = bool(record.attempts) and record.attempts[-1].outcome == "client_left"
    return not record.status and not left


def _times(attempt: TriedProvider, record: ActivityRecord, begin_s: float, end_s: float) -> tuple[float, float]:
    """Those of an attempt, within its request; where they are not known, those of the request."""
    attempt_begin_s = begin_s if attempt.begun_s is None else record.time_s + attempt.begun_s
    took_s = attempt.took_s if attempt.took_s is not None else end_s - begin_s
    return _within(attempt_begin_s, took_s, begin_s, end_s)


def _within(begin_s: float, took_s: float, first_s: float, last_s: float) -> tuple[float, float]:
    begin_s = min(max(begin_s, first_s), last_s) if math.isfinite(begin_s) else first_s
    end_s = begin_s + took_s if math.isfinite(took_s) else begin_s
    return begin_s, min(max(end_s, begin_s), last_s)


def _ns(seconds: float) -> int:
    return int(seconds * _NS)


def _status(failed: bool) -> Status:
    return Status(StatusCode.ERROR) if failed else Status(StatusCode.UNSET)
