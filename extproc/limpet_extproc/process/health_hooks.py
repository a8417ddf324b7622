"""What a worker does with what its health stream brings."""

from collections.abc import Callable
from pathlib import Path

from limpet_extproc.contract.envoy import PROBE_SOCKET
from limpet_extproc.contract.health_stream import ProbeVerdicts
from limpet_extproc.operator_link.health_link import HealthHooks
from limpet_extproc.operator_link.probe_sender import ProbeSender
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
    socket: Path,
    clock: Callable[[], float],
) -> HealthHooks:
    """Events of other gateways and verdicts of probes go to the tracker, probes to the Envoy beside `socket`."""
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
        ProbeSender(socket.parent / PROBE_SOCKET).send,
        connected=metrics.health_connected.set,
        sent=count("sent").inc,
        unreadable=count("unreadable").inc,
    )
