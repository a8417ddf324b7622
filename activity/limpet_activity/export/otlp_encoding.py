"""Spans as a collector reads them: OTLP's protobuf. Pure."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind

from limpet_activity.export.otlp_messages import ExportRequest

_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_SAYS_WHETHER_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
"""Of the parent, in a span's flags."""

_Fields = dict[str, object]


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """An ExportTraceServiceRequest of spans with ids, times and attributes; events and links are not sent."""
    return ExportRequest(
        resource_spans=[
            {
                "resource": {"attributes": _attributes(resource.attributes)},
                "schema_url": resource.schema_url,
                "scope_spans": [_scope(list(of_resource))],
            }
            for resource, of_resource in groupby(spans, lambda span: span.resource)
        ]
    ).SerializeToString()


def _scope(spans: Sequence[ReadableSpan]) -> _Fields:
    """All of Limpet's have the same one."""
    scope = spans[0].instrumentation_scope
    named = {"scope": {"name": scope.name}, "schema_url": scope.schema_url} if scope is not None else {}
    return {**named, "spans": [_span(span) for span in spans]}


def _span(span: ReadableSpan) -> _Fields:
    context, parent = span.context, span.parent
    if context is None:
        raise ValueError(f"the span {span.name} has no ids")
    return {
        "trace_id": context.trace_id.to_bytes(16),
        "span_id": context.span_id.to_bytes(8),
        "parent_span_id": parent.span_id.to_bytes(8) if parent is not None else b"",
        "name": span.name,
        "kind": _KINDS[span.kind],
        "start_time_unix_nano": span.start_time,
        "end_time_unix_nano": span.end_time,
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": span.status.status_code.value, "message": span.status.description},
        "flags": _flags(parent),
    }


def _flags(parent: SpanContext | None) -> int:
    remote = parent is not None and parent.is_remote
    return _SAYS_WHETHER_REMOTE | (_IS_REMOTE if remote else 0)


def _attributes(attributes: Mapping[str, object]) -> Sequence[_Fields]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: object) -> _Fields:
    """Attributes are of these types alone, as the SDK lets no others in."""
    match value:
        case bool():
            return {"bool_value": value}
        case int():
            return {"int_value": value}
        case float():
            return {"double_value": value}
        case list() | tuple():
            return {"array_value": {"values": [_value(each) for each in value]}}
        case _:
            return {"string_value": str(value)}
