"""The exporters that settings and the environment ask for.

How a process uses them: `exporters(...)` once at the start, before it listens, so that a wrong setting ends it with a
sentence; `export` of each with every batch of records, from any thread; `close` of each at the end, after the last
batch. A file of lines that is rotated needs no signal: where SIGHUP is sent all the same, it is to be ignored.
"""

from collections.abc import Mapping, Sequence

import msgspec
from prometheus_client import CollectorRegistry

from limpet_activity.export.background import BackgroundExporter
from limpet_activity.export.export_metrics import ExportMetrics
from limpet_activity.export.json_lines import JsonLines
from limpet_activity.export.otlp import OtlpSpans, resource_of
from limpet_activity.export.otlp_senders import span_sender
from limpet_activity.export.otlp_settings import otlp_settings
from limpet_activity.export.port import Exporter
from limpet_activity.export.spans import spans_of


class ExportSettings(msgspec.Struct, frozen=True):
    """What flags say about exporters."""

    json_lines: str = ""
    """`--json-lines`: a path, or `-` for the standard output; empty: none."""
    version: str = ""
    """Of Limpet, for spans."""


def exporters(settings: ExportSettings, environ: Mapping[str, str], registry: CollectorRegistry) -> Sequence[Exporter]:
    """Those that are asked for, running; none without `json_lines` and OTEL_* variables. Raises ExportSettingsError."""
    spans = otlp_settings(environ)
    lines = JsonLines(settings.json_lines) if settings.json_lines else None
    metrics = ExportMetrics(registry)
    found: list[Exporter] = []
    if lines is not None:
        found.append(BackgroundExporter("json_lines", lines, metrics))
    if spans is not None:
        resource = resource_of(settings.version, environ.get("OTEL_SERVICE_NAME", ""))
        sink = OtlpSpans(span_sender(spans), spans_of(resource, spans.sampler))
        found.append(BackgroundExporter("otlp", sink, metrics))
    return found
