"""Health over the links between replicas: each tells the others what its own workers report and its own probes find.

Nothing is passed on a second time, and of the two links that a pair of replicas may have one is used: so an event
reaches every replica once. The node that it comes from travels along, as workers beside that Envoy may be anywhere.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from limpet_extproc.contract.health_stream import ProbeAnswer, ProbeRequest, ProbeVerdicts
from limpet_operator.fleet.link import PeerLink
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.fleet.peer_contract import PeerAnswer, PeerHealth, PeerObserved, PeerProbe, PeerVerdicts
from limpet_operator.serve.health_exchange import LATE_S, CannotAskError, HealthExchange
from limpet_operator.serve.metrics import ControlPlaneMetrics


class HealthLinks:
    """Implements `serve.health_exchange.HealthPeers`. All methods belong to one event loop."""

    def __init__(self, links: PeerLinks, metrics: ControlPlaneMetrics) -> None:
        self._links = links
        self._metrics = metrics
        self._asked: dict[int, tuple[PeerLink, asyncio.Future[ProbeAnswer]]] = {}
        self._answering: dict[PeerLink, set[asyncio.Task[None]]] = {}
        self._last_id = 0

    # --- from our workers and probes

    def observed(self, node: str, events: msgspec.Raw) -> None:
        """Tell every other replica, once, what a worker of ours beside this Envoy reports."""
        message = PeerObserved(node, events)
        for link in self._links.one_to_each():
            self._metrics.dropped_reports.inc(link.health.put_report(message, memoryview(events).nbytes))
            self._links.wake_one(link)

    def published(self, verdicts: ProbeVerdicts) -> None:
        """Tell every other replica the verdicts of our probes."""
        for link in self._links.one_to_each():
            self._publish(link, verdicts)

    async def ask(self, request: ProbeRequest, gateway: str | None) -> ProbeAnswer:
        """Have a worker of another replica send this; replicas are asked in turn. Raises CannotAskError."""
        error = CannotAskError("no worker is connected here, nor another replica")
        try:
            async with asyncio.timeout(request.timeout_s + 2 * LATE_S):
                for link in sorted(self._links.one_to_each(), key=lambda each: (each.last_asked, each.instance)):
                    try:
                        return await self._ask(link, request, gateway)
                    except CannotAskError as refusal:
                        error = refusal
        except TimeoutError:
            error = CannotAskError("another replica did not answer in time")
        raise error

    async def _ask(self, link: PeerLink, request: ProbeRequest, gateway: str | None) -> ProbeAnswer:
        self._last_id += 1
        number = link.last_asked = self._last_id
        answer: asyncio.Future[ProbeAnswer] = asyncio.get_running_loop().create_future()
        self._asked[number] = link, answer
        link.health.put_probe(PeerProbe(number, request, gateway))
        self._links.wake_one(link)
        try:
            return await answer
        finally:
            del self._asked[number]

    # --- from other replicas

    def joined(self, link: PeerLink, exchange: HealthExchange) -> None:
        """A stream with a peer has been opened: if it is ours to probe, it has to know the verdicts."""
        if (verdicts := exchange.own_verdicts()) is not None:
            self._publish(link, verdicts)

    def receive(self, link: PeerLink, message: PeerHealth, exchange: HealthExchange) -> None:
        """Take in what a peer tells or asks."""
        match message:
            case PeerObserved(node, events):
                exchange.observed_elsewhere(node, events)
            case PeerVerdicts(verdicts):
                exchange.published_elsewhere(verdicts)
            case PeerProbe():
                self._start(link, self._answer(link, message, exchange))
            case PeerAnswer(number, result, error):
                waiting = self._asked.get(number)
                if waiting is None or waiting[1].done():
                    return
                if result is None:
                    waiting[1].set_exception(CannotAskError(error))
                else:
                    waiting[1].set_result(result)

    def left(self, link: PeerLink) -> None:
        """Its stream has ended: nobody there answers us, or waits for answers."""
        for task in self._answering.pop(link, ()):
            task.cancel()
        for asked, answer in self._asked.values():
            if asked is link and not answer.done():
                answer.set_exception(CannotAskError("the replica that was asked left before it answered"))

    async def _answer(self, link: PeerLink, probe: PeerProbe, exchange: HealthExchange) -> None:
        try:
            answer = PeerAnswer(probe.id, await exchange.ask_own(probe.request, probe.gateway))
        except CannotAskError as error:
            answer = PeerAnswer(probe.id, None, str(error))
        link.health.put_probe(answer)
        self._links.wake_one(link)

    def _start(self, link: PeerLink, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        running = self._answering.setdefault(link, set())
        running.add(task)
        task.add_done_callback(running.discard)

    def _publish(self, link: PeerLink, verdicts: ProbeVerdicts) -> None:
        link.health.put_verdicts(PeerVerdicts(verdicts))
        self._links.wake_one(link)
