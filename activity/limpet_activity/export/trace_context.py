"""Which trace a request belongs to: the client's, or one of its own. Named by the record: repeats are the same."""

import hashlib
import re
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)")
"""W3C Trace Context: later versions may say more at the end."""


def client_context(traceparent: str) -> SpanContext | None:
    """The span of the client that the request came from; None: it names none that is valid."""
    found = _TRACEPARENT.match(traceparent)
    if found is None:
        return None
    trace, span, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))
    return context if context.is_valid else None


def trace_id(record_id: str) -> int:
    """Of a request whose client names no trace. Its bits are as good as random, by which samplers choose."""
    return _number("trace", record_id, 16)


def span_id(record_id: str, which: str) -> int:
    """Of one of the spans of a request."""
    return _number(f"span {which}", record_id, 8)


def _number(what: str, record_id: str, size: int) -> int:
    digest = hashlib.blake2b(f"{what} {record_id}".encode(), digest_size=size).digest()
    return int.from_bytes(digest) or 1
