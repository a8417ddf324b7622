"""A worker's end of the health stream: its events go up; events of other gateways, verdicts and probes come down.

The stream is reopened for as long as the process lives. Nothing depends on it: while it is away, or with an operator
that does not know it, a worker judges by what its own gateway sees.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Never

import msgspec

from limpet_extproc.contract.catalog import ContractMismatch
from limpet_extproc.contract.health_stream import (
    HEALTH_METHOD,
    HealthHello,
    HealthReport,
    ProbeAnswer,
    ProbeRequest,
    ProbeVerdicts,
    Relayed,
    decode_order,
    encode,
)
from limpet_extproc.operator_link.event_queue import EventQueue
from limpet_extproc.operator_link.operator_channel import Pauses, one_stream
from limpet_extproc.operator_link.stream_tasks import StreamTasks, writer
from limpet_extproc.providers.event_reader import read_json
from limpet_extproc.providers.events import WorkerEvent

MAX_PROBES: Final = 64
"""At the same time. The operator has no more under way, but most of its workers may be gone."""
_OVERDUE_S: Final = 1.0
"""After the time limit of a probe its sender is given up."""

SendProbe = Callable[[ProbeRequest], Awaitable[ProbeAnswer]]
"""Sends a probe through the Envoy beside us; what goes wrong is in the answer's `failure`."""

_Send = Callable[[HealthReport], Awaitable[None]]

_log = logging.getLogger(__name__)


def _ignore(_: object) -> None:
    """For a hook that is not set."""


async def _no_sender(request: ProbeRequest) -> ProbeAnswer:
    return ProbeAnswer(request.id, failure="this worker sends no probes")


@dataclass(frozen=True, slots=True)
class HealthHooks:
    """What is done with that which comes down, and what the metrics are told."""

    event: Callable[[WorkerEvent], None] = _ignore
    """Another gateway's worker saw this."""
    verdicts: Callable[[ProbeVerdicts], None] = _ignore
    """They replace the ones before."""
    send_probe: SendProbe = _no_sender
    connected: Callable[[bool], None] = _ignore
    """True when the operator has accepted the stream."""
    sent: Callable[[int], None] = _ignore
    """So many events went up."""
    unreadable: Callable[[int], None] = _ignore
    """So many events, or orders, could not be read."""


class HealthLink:
    """One stream after another to the operator at `target`, for the worker beside the Envoy `node`."""

    def __init__(
        self,
        target: str,
        node: str,
        queue: EventQueue,
        hooks: HealthHooks,
        tls_dir: Path | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._target = target
        self._node = node
        self._queue = queue
        self._hooks = hooks
        self._tls_dir = tls_dir
        self._sleep = sleep
        self._pauses = Pauses()
        self._warned: set[str] = set()
        self._accepted = False

    async def run(self) -> Never:
        """Keep the stream until cancelled. Its loss is logged; if the operator is away, the catalog stream says so."""
        while True:
            try:
                why = await one_stream(self._target, self._tls_dir, HEALTH_METHOD, self._talk)
            finally:
                accepted, self._accepted = self._accepted, False
                self._hooks.connected(False)
            _log.log(
                logging.INFO if accepted else logging.DEBUG,
                "no health stream to the operator at %s: %s. Judging by what this gateway sees",
                self._target,
                why,
            )
            await self._sleep(self._pauses.next_s())

    async def _talk(self, call: Any) -> None:
        write = writer(call)

        async def send(report: HealthReport) -> None:
            await write(encode(report))

        await send(HealthHello(self._node))
        # What is written to an operator that refuses the stream would be lost.
        await call.initial_metadata()
        async with StreamTasks() as tasks:
            if not call.done():
                self._begin()
                tasks.start(self._report(send))
            async for data in call:
                self._take(data, send, tasks)

    def _begin(self) -> None:
        self._pauses.reset()
        self._accepted = True
        self._hooks.connected(True)

    async def _report(self, send: _Send) -> Never:
        while True:
            report, events = await self._queue.next()
            await send(report)
            self._hooks.sent(events)

    def _take(self, data: bytes, send: _Send, tasks: StreamTasks) -> None:
        try:
            order = decode_order(data)
        except ContractMismatch as error:
            self._unread(1, "the operator", error)
            return
        match order:
            case Relayed(events):
                self._apply(events)
            case ProbeVerdicts() as verdicts:
                self._hooks.verdicts(verdicts)
            case ProbeRequest() as request:
                # One of the tasks reports events.
                tasks.start(self._refuse(request, send) if len(tasks) > MAX_PROBES else self._probe(request, send))

    def _apply(self, raw: msgspec.Raw) -> None:
        read = read_json(raw)
        if read.error is not None:
            self._unread(read.unread, "another gateway", read.error)
        for event in read.events:
            self._hooks.event(event)

    def _unread(self, count: int, who: str, error: Exception) -> None:
        """It is passed over: an operator or a gateway of a newer version may go on saying it."""
        self._hooks.unreadable(count)
        if who not in self._warned:
            self._warned.add(who)
            _log.warning("%s speaks another language: %s. Do all run the same version?", who, error)

    async def _probe(self, request: ProbeRequest, send: _Send) -> None:
        limit_s = request.timeout_s + _OVERDUE_S
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._hooks.send_probe(request)
        except TimeoutError:
            answer = ProbeAnswer(request.id, failure=f"the worker could not send it within {limit_s:g} s")
        except Exception:
            _log.exception("a probe of %s failed in Limpet; please report this", request.provider)
            answer = ProbeAnswer(request.id, failure="the worker failed; its log says how")
        await send(answer)

    async def _refuse(self, request: ProbeRequest, send: _Send) -> None:
        await send(ProbeAnswer(request.id, failure=f"the worker is sending {MAX_PROBES} probes already"))
