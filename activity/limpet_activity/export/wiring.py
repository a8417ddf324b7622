"""The exporters that settings and the environment ask for.

How a process uses them: `exporters(...)` once at the start, before it listens, so that a file that cannot be written
ends it with a sentence; `export` of each with every batch of records, from any thread; `close` of each at the end,
after the last batch. A file of lines that is rotated needs no signal: where SIGHUP is sent all the same, it is to be
ignored.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec
from prometheus_client import CollectorRegistry

from limpet_activity.export.background import BackgroundExporter
from limpet_activity.export.export_metrics import ExportMetrics
from limpet_activity.export.json_lines import JsonLines
from limpet_activity.export.otlp import OtlpSpans, resource_of
from limpet_activity.export.otlp_senders import span_sender
from limpet_activity.export.otlp_settings import otlp_settings
from limpet_activity.export.port import Exporter, ExportSettingsError
from limpet_activity.export.spans import spans_of

_log = logging.getLogger(__name__)


class ExportSettings(msgspec.Struct, frozen=True):
    """What flags say about exporters."""

    json_lines: str = ""
    """`--json-lines`: a path, or `-` for the standard output; empty: none."""
    version: str = ""
    """Of Limpet, for spans."""


def exporters(settings: ExportSettings, environ: Mapping[str, str], registry: CollectorRegistry) -> Sequence[Exporter]:
    """Those that are asked for, running; none without `json_lines` and OTEL_* variables.

    Raises ExportSettingsError where the file of `json_lines` cannot be written. A variable without a meaning costs the
    spans alone: it may be meant for other programs, and the log of requests matters more.
    """
    lines = JsonLines(settings.json_lines) if settings.json_lines else None
    metrics = ExportMetrics(registry)
    found: list[Exporter] = []
    if lines is not None:
        found.append(BackgroundExporter("json_lines", lines, metrics))
    if (spans := _spans(settings, environ)) is not None:
        found.append(BackgroundExporter("otlp", spans, metrics))
    return found


def _spans(settings: ExportSettings, environ: Mapping[str, str]) -> OtlpSpans | None:
    try:
        asked = otlp_settings(environ)
        if asked is None:
            return None
        sender = span_sender(asked)
    except ExportSettingsError as error:
        _log.error("no spans are sent: %s", error)
        return None
    resource = resource_of(settings.version, environ.get("OTEL_SERVICE_NAME", ""))
    return OtlpSpans(sender, spans_of(resource, asked.sampler))
