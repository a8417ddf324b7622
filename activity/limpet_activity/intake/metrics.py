"""What the service counts of itself."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_GROUP_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class IntakeMetrics:
    """Of what comes in, and of the store."""

    def __init__(self, registry: CollectorRegistry) -> None:
        records = Counter(
            "limpet_activity_intake_records",
            "Records that workers handed over: taken, repeated (known already), refused (they cannot be kept), "
            "too_old (the store has reached its size, and keeps nothing that old).",
            ["outcome"],
            registry=registry,
        )
        self.taken: Final = records.labels("taken")
        self.repeated: Final = records.labels("repeated")
        self.refused: Final = records.labels("refused")
        self.too_old: Final = records.labels("too_old")
        batches = Counter(
            "limpet_activity_intake_batches",
            "Batches that workers sent: taken, refused (no batch, or too large), away (the store did not take them).",
            ["outcome"],
            registry=registry,
        )
        self.batches_taken: Final = batches.labels("taken")
        self.batches_refused: Final = batches.labels("refused")
        self.batches_away: Final = batches.labels("away")
        self.group_s: Final = Histogram(
            "limpet_activity_store_write_seconds",
            "How long the store took to write what had come in.",
            buckets=_GROUP_S,
            registry=registry,
        )
        self.store_up: Final = Gauge(
            "limpet_activity_store_up", "1 if the store did what it was asked last, else 0.", registry=registry
        )
        self.kept: Final = Gauge("limpet_activity_store_records", "Records in the store.", registry=registry)
        self.size: Final = Gauge("limpet_activity_store_bytes", "What the store takes on disk.", registry=registry)
        self.dropped: Final = Gauge(
            "limpet_activity_dropped_records",
            "Records that workers could not hand over, as they say, of the time that is kept.",
            registry=registry,
        )
