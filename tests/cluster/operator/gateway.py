"""An Envoy and its wishes, in a few lines: what the operator serves, as a client of its delta stream sees it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from limpet_operator.publish.resource import CLUSTER, SECRET

PATIENCE_S = 30.0
_CREDENTIAL = re.compile(rb"limpet/credential/[\w./:@\[\]-]+")


class Gateway:
    """Takes every cluster, asks for every credential that belongs to one, and acknowledges all of it."""

    def __init__(self, node: str = "gateway-0") -> None:
        self.node = node
        self.clusters: dict[str, bytes] = {}
        self._secrets: dict[str, str] = {}
        self.received = 0
        """Clusters that came, first ones and changes."""
        self._news = asyncio.Event()
        self._call: Any = None

    @asynccontextmanager
    async def connected(self, address: str, credentials: Any = None) -> AsyncIterator["Gateway"]:
        """Follow until the end of the block; a connection that breaks off is made again."""
        following = asyncio.create_task(self._follow(address, credentials))
        try:
            yield self
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    async def until(self, holds: Callable[["Gateway"], bool]) -> None:
        """Return as soon as this holds. TimeoutError: it never did."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self):
                self._news.clear()
                await self._news.wait()

    @property
    def keys(self) -> dict[str, str]:
        """Credential of each provider, as the header's whole value, by its secret's name without the host."""
        return {name.partition("@")[0]: value for name, value in self._secrets.items()}

    @property
    def providers(self) -> set[str]:
        """Names of the providers that are served; our own clusters have an underscore."""
        return {name for name in self.clusters if "_" not in name}

    async def _follow(self, address: str, credentials: Any) -> None:
        while True:
            channel = (
                grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
            )
            async with channel:
                with suppress(grpc.aio.AioRpcError):
                    await self._stream(ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel))
            await asyncio.sleep(0.1)

    async def _stream(self, stub: Any) -> None:
        self._call = stub.DeltaAggregatedResources()
        had = dict.fromkeys(self.clusters, "")
        await self._say(CLUSTER, initial_resource_versions=had)
        asked: set[str] = set()
        async for response in self._call:
            self._take(response)
            await self._say(response.type_url, response_nonce=response.nonce)
            named = (name.decode() for cluster in self.clusters.values() for name in _CREDENTIAL.findall(cluster))
            if wanted := set(named) - asked:
                asked |= wanted
                await self._say(SECRET, resource_names_subscribe=sorted(wanted))
            self._news.set()

    async def _say(self, type_url: str, **fields: Any) -> None:
        await self._call.write(discovery_pb2.DeltaDiscoveryRequest(node={"id": self.node}, type_url=type_url, **fields))

    def _take(self, response: Any) -> None:
        for resource in response.resources:
            if response.type_url == CLUSTER:
                self.clusters[resource.name] = resource.resource.value
                self.received += 1
            elif response.type_url == SECRET:
                secret = secret_pb2.Secret.FromString(resource.resource.value)
                self._secrets[resource.name] = secret.generic_secret.secret.inline_string
        for name in response.removed_resources:
            (self.clusters if response.type_url == CLUSTER else self._secrets).pop(name, None)
