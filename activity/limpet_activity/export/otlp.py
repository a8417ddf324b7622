"""Spans to a collector, by OTLP."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from limpet_activity.export.otlp_settings import OtlpSettings
from limpet_activity.export.port import ExportSettingsError
from limpet_activity.export.spans import Spans
from limpet_extproc.contract.activity import ActivityRecord

DEFAULT_SERVICE: Final = "limpet"


def resource_of(version: str, service_name: str) -> Resource:
    """What sends the spans; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME are read by the library and say more."""
    named = Resource.create({SERVICE_VERSION: version})
    unnamed = str(named.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    own = service_name or (DEFAULT_SERVICE if unnamed else "")
    return named.merge(Resource({SERVICE_NAME: own})) if own else named


def span_exporter(settings: OtlpSettings) -> SpanExporter:
    """The library's own. It reads certificates, compression and timeouts from the environment of this process.

    Raises ExportSettingsError where the library cannot be loaded. It is loaded here alone: that takes half a second.
    """
    headers = dict(settings.headers)
    try:
        if settings.protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter

            return GrpcSpanExporter(endpoint=settings.endpoint, headers=headers)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter

        return HttpSpanExporter(endpoint=settings.endpoint, headers=headers)
    except ImportError as error:
        # xds-protos brings older files of the same names, and pip lets whichever comes last stay.
        raise ExportSettingsError(
            f"spans are asked for, and OpenTelemetry's exporter cannot be loaded ({error}): another package has "
            "overwritten files of opentelemetry-proto; bring them back with "
            "'pip install --force-reinstall --no-deps opentelemetry-proto'"
        ) from error


class OtlpSpans:
    """A sink for spans."""

    def __init__(self, exporter: SpanExporter, spans: Spans) -> None:
        self._exporter = exporter
        self._spans = spans

    def write(self, records: Sequence[ActivityRecord]) -> int:
        """See `Sink`. The library tries again what may succeed, for ten seconds by default, and logs what fails."""
        spans = [span for record in records for span in self._spans(record)]
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            return 0
        return len(records)

    def interrupt(self) -> None:
        """See `Sink`."""
        self._exporter.shutdown()

    def close(self) -> None:
        """See `Sink`."""
        self._exporter.shutdown()
