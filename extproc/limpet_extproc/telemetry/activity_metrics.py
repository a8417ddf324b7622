"""Whether records of requests reach the activity service."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class ActivityMetrics:
    """The metrics of handing records over."""

    def __init__(self, registry: CollectorRegistry) -> None:
        records = Counter(
            "limpet_activity_records",
            "Records of requests that the activity service has taken, and that were dropped as it did not.",
            ["outcome"],
            registry=registry,
        )
        self.taken = records.labels("taken").inc
        self._dropped = records.labels("dropped").inc
        self._dropped_before = 0
        self._waiting_bytes = Gauge(
            "limpet_activity_waiting_bytes",
            "Bytes of records that wait for the activity service.",
            registry=registry,
        )

    def show(self, dropped: int, waiting_bytes: int) -> None:
        """How many records were dropped since the start, and what waits now."""
        self._dropped(dropped - self._dropped_before)
        self._dropped_before = dropped
        self._waiting_bytes.set(waiting_bytes)
