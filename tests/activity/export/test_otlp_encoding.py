"""Spans on the wire, against the bytes of OpenTelemetry's own library."""

from pathlib import Path

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from tests.activity.export.records import RECORD

from limpet_activity.export.otlp_encoding import encoded
from limpet_activity.export.spans import spans_of

# What `encode_spans` of opentelemetry-exporter-otlp-proto-common 1.45.2 makes of the spans below, serialised.
OF_THE_LIBRARY = Path(__file__).with_name("spans_of_the_library.binpb").read_bytes()
RESOURCE = Resource(
    {"service.name": "limpet", "service.version": "1.2", "a.list": ["x", "y"], "on": True, "port": 0, "share": 0.5},
    "https://opentelemetry.io/schemas/1.44.0",
)


def test_every_byte_is_that_of_the_library() -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    child = msgspec.structs.replace(RECORD, id="2e", traceparent=traceparent, status=0)
    spans = spans_of(RESOURCE, ALWAYS_ON)
    assert encoded([*spans(RECORD), *spans(child)]) == OF_THE_LIBRARY
