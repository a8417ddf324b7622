"""What a worker does with what its health stream brings."""

from collections.abc import Awaitable, Callable

from limpet_extproc.contract.health_stream import ProbeAnswer, ProbeRequest, ProbeVerdicts
from limpet_extproc.operator_link.health_link import HealthHooks
from limpet_extproc.process.wiring import RoutingParts
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import WorkerEvent
from limpet_extproc.providers.received import Received
from limpet_extproc.telemetry.metrics import WorkerMetrics


def health_hooks(
    routing: RoutingParts,
    metrics: WorkerMetrics,
    complaints: Complaints,
    known: Callable[[str], bool],
    send: Callable[[ProbeRequest], Awaitable[ProbeAnswer]],
    clock: Callable[[], float],
) -> HealthHooks:
    """Events of other gateways and verdicts of probes go to the tracker, probes are sent by `send`."""
    count = metrics.gateway_events.labels
    received = count("received")
    others = Received(routing.tracker.apply_relayed, routing.limit_use, known, metrics.failures.inc)

    def take(event: WorkerEvent) -> None:
        received.inc()
        others.take(event)

    def verdicts(all_of_them: ProbeVerdicts) -> None:
        routing.tracker.take_probed(all_of_them.probed, all_of_them.valid_s)
        complaints.resolve_probed(all_of_them.probed, clock())

    return HealthHooks(
        take,
        verdicts,
        send,
        connected=metrics.health_connected.set,
        sent=count("sent").inc,
        unreadable=count("unreadable").inc,
    )
