"""Spans to a collector, by OTLP."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

from limpet_activity.export.otlp_encoding import encoded
from limpet_activity.export.otlp_senders import SpanSender
from limpet_activity.export.spans import Spans
from limpet_extproc.contract.activity import ActivityRecord

DEFAULT_SERVICE: Final = "limpet"


def resource_of(version: str, service_name: str) -> Resource:
    """What sends the spans; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME are read by the library and say more."""
    named = Resource.create({SERVICE_VERSION: version})
    unnamed = str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    own = service_name or (DEFAULT_SERVICE if unnamed else "")
    return named.merge(Resource({SERVICE_NAME: own})) if own else named


class OtlpSpans:
    """A sink for spans."""

    def __init__(self, sender: SpanSender, spans: Spans) -> None:
        self._sender = sender
        self._spans = spans

    def write(self, records: Sequence[ActivityRecord]) -> int:
        """See `Sink`."""
        spans = [span for record in records for span in self._spans(record)]
        if spans:
            self._sender.send(encoded(spans))
        return len(records)

    def interrupt(self) -> None:
        """See `Sink`."""
        self._sender.close()

    def close(self) -> None:
        """See `Sink`."""
        self._sender.close()
