"""As much of an Envoy as delta ADS can see of one: it subscribes, applies what it likes and says what it does not."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from limpet_operator.publish.resource import CLUSTER


class FakeEnvoy:
    """One delta stream of one Envoy; keeps what it was given across streams, as Envoy does."""

    def __init__(self, address: str, node: str = "n") -> None:
        self.address = address
        self.node = node
        self.has: dict[str, dict[str, tuple[str, bytes]]] = {}

    @asynccontextmanager
    async def stream(self) -> AsyncIterator["FakeEnvoy"]:
        async with grpc.aio.insecure_channel(self.address) as channel:
            self.call: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            self.responses = aiter(self.call)
            yield self
            self.call.cancel()

    async def subscribe(self, type_url: str, *names: str, unsubscribe: Iterable[str] = ()) -> None:
        await self.call.write(
            discovery_pb2.DeltaDiscoveryRequest(
                node={"id": self.node},
                type_url=type_url,
                resource_names_subscribe=names,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions={n: v for n, (v, _) in self.has.get(type_url, {}).items()},
            )
        )

    async def receive(self) -> Any:
        async with asyncio.timeout(5):
            return await anext(self.responses)

    async def answer(self, response: Any, error: str | None = None) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error is None:
            has = self.has.setdefault(response.type_url, {})
            has.update({r.name: (r.version, r.resource.value) for r in response.resources})
            for name in response.removed_resources:
                has.pop(name, None)
        else:
            request.error_detail.message = error
        await self.call.write(request)

    async def answer_all(self, broken: bytes, error: str) -> None:
        """Reject the responses with a broken body, accept the others."""
        async for response in self.responses:
            bad = any(r.resource.value == broken for r in response.resources)
            await self.answer(response, error if bad else None)

    async def take(self) -> tuple[str, dict[str, bytes], list[str]]:
        """Receive and accept one response: type, resources, removals."""
        response = await self.receive()
        await self.answer(response)
        return (
            response.type_url,
            {r.name: r.resource.value for r in response.resources},
            list(response.removed_resources),
        )

    @asynccontextmanager
    async def running(self, broken: bytes = b"broken", error: str = "no such file") -> AsyncIterator["FakeEnvoy"]:
        """Connected, subscribed to all clusters, and answering by itself."""
        async with self.stream():
            await self.subscribe(CLUSTER)
            answering = asyncio.create_task(self.answer_all(broken, error))
            try:
                yield self
            finally:
                answering.cancel()
                with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                    await answering
