"""What became of the records that were to be passed on."""

from typing import Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge

LossReason: TypeAlias = Literal["queue_full", "not_taken", "closed"]
"""queue_full: they came faster than they were taken. not_taken: the other end failed or refused, again and again."""
LOSS_REASONS: Final[tuple[LossReason, ...]] = ("queue_full", "not_taken", "closed")


class ExportMetrics:
    """Those of all exporters of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exported = Counter(
            "limpet_activity_exported_records",
            "Records that were passed on, by exporter: json_lines or otlp.",
            ["exporter"],
            registry=registry,
        )
        self.lost = Counter(
            "limpet_activity_export_lost_records",
            "Records that an exporter could not pass on; the store has them all the same.",
            ["exporter", "why"],
            registry=registry,
        )
        self.waiting = Gauge(
            "limpet_activity_export_waiting_records",
            "Records that wait to be passed on.",
            ["exporter"],
            registry=registry,
        )
