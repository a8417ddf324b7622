"""The metrics of the writers to the Kubernetes API; the registry is the caller's."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge


@dataclass(frozen=True, slots=True)
class WriterMetrics:
    """`outcome` is `ok`, `conflict`, `gone`, `not_sent` or `failed`; of Events also `dropped`.

    Of objects of a mesh it is `applied`, `removed`, `not_sent`, and why a write failed: `not_permitted`, `conflict`,
    `not_taken` or `away`.
    """

    status_writes: Counter
    events: Counter
    mesh_writes: Counter
    lease_held: Gauge


def build_writer_metrics(registry: CollectorRegistry) -> WriterMetrics:
    """Register them. A registry can hold them once."""
    return WriterMetrics(
        status_writes=Counter(
            "limpet_status_writes", "Statuses sent to the API server", ["kind", "outcome"], registry=registry
        ),
        events=Counter("limpet_events", "Kubernetes Events sent to the API server", ["outcome"], registry=registry),
        mesh_writes=Counter(
            "limpet_mesh_writes",
            "Objects of a service mesh sent to the API server",
            ["kind", "outcome"],
            registry=registry,
        ),
        lease_held=Gauge("limpet_lease_held", "1 while this replica writes status, else 0", registry=registry),
    )
