"""A worker without an Envoy: it reports the evidence that a test makes up, and answers probes as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio

from limpet_extproc.contract import catalog, health_stream
from limpet_extproc.contract.catalog import WATCH_METHOD, Evidence, EvidenceReport, Hello, Seen, decode_catalog
from limpet_extproc.contract.health_stream import HEALTH_METHOD, HealthHello, ProbeAnswer, ProbeRequest, decode_order

Answer = Callable[[ProbeRequest], ProbeAnswer]


def fine(request: ProbeRequest) -> ProbeAnswer:
    """The answer of an endpoint that is up."""
    return ProbeAnswer(request.id, 200, "application/json", body='{"object": "list", "data": []}')


class Worker:
    """Beside the Envoy `node`."""

    def __init__(self, node: str = "gateway-0") -> None:
        self.node = node
        self.answers: dict[str, Answer] = {}
        """By provider; `fine` where none is set."""
        self.probed = 0
        self._reports: asyncio.Queue[EvidenceReport] = asyncio.Queue()

    def report(self, provider: str, evidence: Evidence) -> None:
        """Tell the operator this about a provider; named with its namespace, unless that is `default`."""
        self._reports.put_nowait(EvidenceReport({provider: evidence}))

    @asynccontextmanager
    async def connected(self, address: str) -> AsyncIterator["Worker"]:
        """Speak on both streams until the end of the block."""
        async with grpc.aio.insecure_channel(address) as channel:
            tasks = [asyncio.create_task(speak(channel)) for speak in (self._watch, self._probe)]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                    with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                        await task

    async def _watch(self, channel: Any) -> None:
        call: Any = channel.stream_stream(WATCH_METHOD)()
        await call.write(catalog.encode(Hello(self.node)))
        write = _one_by_one(call)

        async def report() -> None:
            while True:
                await write(catalog.encode(await self._reports.get()))

        reporting = asyncio.create_task(report())
        try:
            async for data in call:
                await write(catalog.encode(Seen(decode_catalog(data).revision)))
        finally:
            reporting.cancel()

    async def _probe(self, channel: Any) -> None:
        call: Any = channel.stream_stream(HEALTH_METHOD)()
        await call.write(health_stream.encode(HealthHello(self.node)))
        async for data in call:
            order = decode_order(data)
            if isinstance(order, ProbeRequest):
                self.probed += 1
                await call.write(health_stream.encode(self.answers.get(order.provider, fine)(order)))


def _one_by_one(call: Any) -> Callable[[bytes], Awaitable[None]]:
    """Two tasks write to the call, which takes one message at a time."""
    lock = asyncio.Lock()

    async def write(data: bytes) -> None:
        async with lock:
            await call.write(data)

    return write
