"""Who is told what about health: events of one gateway's workers, the verdicts of probes, and the probes themselves.

Knows no gRPC. The workers of other replicas are reached through `HealthPeers`; each replica passes on only what its own
workers report, so nothing arrives twice, whatever the connections between replicas are (docs/decisions/0047).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from limpet_extproc.contract.health_stream import (
    ProbeAnswer,
    ProbeRequest,
    ProbeVerdicts,
    Relayed,
    encode,
)
from limpet_operator.serve.metrics import ControlPlaneMetrics
from limpet_operator.serve.outbox import MAX_REPORT_BYTES, Outbox

LATE_S: Final = 2.0
"""A worker's answer may come so much later than the time limit of its probe."""


class CannotAskError(Exception):
    """A probe was not sent, or its answer was lost with the worker. It shows nothing about the provider."""


class HealthPeers(Protocol):
    """The other replicas, and through them their workers."""

    def observed(self, node: str, events: msgspec.Raw) -> None:
        """Tell their workers beside other Envoys than `node` what one of ours reports."""

    def published(self, verdicts: ProbeVerdicts) -> None:
        """Tell all their workers, and those that connect to them, the verdicts of our probes."""

    async def ask(self, request: ProbeRequest, gateway: str | None) -> ProbeAnswer:
        """Have one of their workers send a probe. Raises CannotAskError."""


class NoHealthPeers:
    """The HealthPeers of a replica that is the only one."""

    def observed(self, node: str, events: msgspec.Raw) -> None:
        """There is nobody else to tell."""

    def published(self, verdicts: ProbeVerdicts) -> None:
        """There is nobody else to tell."""

    async def ask(self, _request: ProbeRequest, gateway: str | None) -> ProbeAnswer:
        """Nobody can be asked."""
        raise CannotAskError(_nobody(gateway))


class HealthWorker:
    """One connected worker, and what it is still to be sent."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.wake = asyncio.Event()
        """Set when there is something to send."""
        self.asked: dict[int, asyncio.Future[ProbeAnswer]] = {}
        self.last_asked = 0
        """The number of the last probe that went to it; 0: none yet."""
        self.outbox = Outbox[bytes]()


def next_to_ask(workers: Iterable[HealthWorker], gateway: str | None = None) -> HealthWorker | None:
    """The worker for the next probe: gateways in turn, and the workers of each in turn; None: there is none."""
    candidates = [worker for worker in workers if gateway is None or worker.node == gateway]
    last_asked: dict[str, int] = {}
    for worker in candidates:
        last_asked[worker.node] = max(last_asked.get(worker.node, 0), worker.last_asked)
    return min(candidates, key=lambda worker: (last_asked[worker.node], worker.node, worker.last_asked), default=None)


class HealthExchange:
    """All methods belong to one event loop, and none of them blocks it."""

    def __init__(
        self, peers: HealthPeers, metrics: ControlPlaneMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._peers = peers
        self._metrics = metrics
        self._clock = clock
        self._workers: dict[HealthWorker, None] = {}
        """In the order in which they came."""
        self._verdicts: ProbeVerdicts | None = None
        self._verdicts_until_s = 0.0
        self._verdicts_are_own = False
        self._last_id = 0

    @property
    def workers(self) -> int:
        """How many are connected."""
        return len(self._workers)

    def join(self, node: str) -> HealthWorker:
        """A worker beside this Envoy has connected; the verdicts that hold now are the first thing it is sent."""
        worker = HealthWorker(node)
        self._workers[worker] = None
        self._metrics.health_streams.inc()
        if (verdicts := self.verdicts()) is not None:
            worker.outbox.put_verdicts(encode(verdicts))
        return worker

    def leave(self, worker: HealthWorker) -> None:
        """It has gone; whoever waits for its answers is told."""
        del self._workers[worker]
        self._metrics.health_streams.dec()
        for answer in worker.asked.values():
            if not answer.done():
                answer.set_exception(CannotAskError(f"the worker beside {worker.node} left before it answered"))

    # --- events

    def observed(self, worker: HealthWorker, events: msgspec.Raw) -> None:
        """One of our workers reports these: for the workers beside other Envoys, here and at other replicas."""
        if memoryview(events).nbytes > MAX_REPORT_BYTES:
            self._metrics.dropped_reports.inc()
            return
        self.observed_elsewhere(worker.node, events)
        self._peers.observed(worker.node, events)

    def observed_elsewhere(self, node: str, events: msgspec.Raw) -> None:
        """A worker beside `node` has reported these, to whichever replica: for our workers beside other Envoys."""
        data = encode(Relayed(events))
        for worker in self._workers:
            if worker.node != node:
                self._metrics.relayed_reports.inc()
                self._metrics.dropped_reports.inc(worker.outbox.put_report(data, len(data)))
                worker.wake.set()

    # --- verdicts of probes

    def verdicts(self) -> ProbeVerdicts | None:
        """Those that hold now, for as long as they still do; how old good probes are is told with the next ones."""
        left_s = self._verdicts_until_s - self._clock()
        if self._verdicts is None or left_s <= 0:
            return None
        probed = tuple(msgspec.structs.replace(each, good_age_s=None) for each in self._verdicts.probed)
        return ProbeVerdicts(probed, left_s)

    def own_verdicts(self) -> ProbeVerdicts | None:
        """Those that hold now, if it is this replica that probes."""
        return self.verdicts() if self._verdicts_are_own else None

    def publish(self, verdicts: ProbeVerdicts) -> None:
        """The verdicts of this replica's own probes: for every worker everywhere, now and when it connects."""
        self._publish(verdicts, own=True)
        self._peers.published(verdicts)

    def published_elsewhere(self, verdicts: ProbeVerdicts) -> None:
        """Verdicts of the replica that probes; the last ones to arrive are in force."""
        self._publish(verdicts, own=False)

    def _publish(self, verdicts: ProbeVerdicts, *, own: bool) -> None:
        self._verdicts_are_own = own
        self._verdicts, self._verdicts_until_s = verdicts, self._clock() + verdicts.valid_s
        data = encode(verdicts)
        for worker in self._workers:
            worker.outbox.put_verdicts(data)
            worker.wake.set()

    # --- probes

    async def ask(self, request: ProbeRequest, gateway: str | None = None) -> ProbeAnswer:
        """Have a worker send this, beside this gateway's Envoy if one is named; the request's `id` is given here.

        Raises CannotAskError if no worker is connected anywhere, or the one that was asked leaves or stays silent for
        LATE_S longer than the probe may take.
        """
        if next_to_ask(self._workers, gateway) is not None:
            return await self.ask_own(request, gateway)
        return await self._peers.ask(request, gateway)

    async def ask_own(self, request: ProbeRequest, gateway: str | None = None) -> ProbeAnswer:
        """The same with workers of this replica alone."""
        worker = next_to_ask(self._workers, gateway)
        if worker is None:
            raise CannotAskError(_nobody(gateway))
        self._last_id += 1
        number = worker.last_asked = self._last_id
        answer: asyncio.Future[ProbeAnswer] = asyncio.get_running_loop().create_future()
        worker.asked[number] = answer
        worker.outbox.put_probe(encode(msgspec.structs.replace(request, id=number)))
        worker.wake.set()
        limit_s = request.timeout_s + LATE_S
        outcome = "lost"
        try:
            async with asyncio.timeout(limit_s):
                result = await answer
            outcome = "answered"
        except TimeoutError:
            raise CannotAskError(f"the worker beside {worker.node} did not answer within {limit_s:g} s") from None
        finally:
            del worker.asked[number]
            self._metrics.probe_requests.labels(outcome).inc()
        return msgspec.structs.replace(result, id=request.id)

    def answered(self, worker: HealthWorker, answer: ProbeAnswer) -> None:
        """What became of a probe; one that nobody waits for any more is ignored."""
        waiting = worker.asked.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


def _nobody(gateway: str | None) -> str:
    return f"no worker beside {gateway} is connected" if gateway else "no worker of any gateway is connected"
