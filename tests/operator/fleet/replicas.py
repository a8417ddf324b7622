"""Replicas of the operator in one process, over real gRPC, and the workers that they speak with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
from prometheus_client import CollectorRegistry

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model
from limpet_extproc.operator_link.catalog_client import watch
from limpet_extproc.operator_link.evidence import EvidenceReporter
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.fleet.peers import Dial, Peers
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.resource import CLUSTER, Publication, Resource
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts
from limpet_operator.serve.tasks import beside
from limpet_operator.serve.tls import only_for, server_credentials


class Names:
    """DNS, until it breaks."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = set(addresses)
        self.broken = False
        self.asked = 0

    async def __call__(self) -> Collection[str]:
        self.asked += 1
        if self.broken:
            raise OSError("name server is away")
        return set(self.addresses)


async def soon(seconds: float) -> None:
    """A sleep in which a second is two hundredths."""
    await asyncio.sleep(seconds / 50)


class Replica:
    """An operator without its sources: a test sets what is planned."""

    def __init__(
        self,
        name: str,
        address: str,
        linger_s: float = 0.0,
        drain: Callable[[float], Awaitable[Any]] = soon,
        only: Mapping[str, str] | None = None,
        confirm_s: float = 10.0,
    ) -> None:
        """`only`: the names that certificates must carry, of `gateways` and of `replicas`."""
        self.name, self.address, self.only = name, address, only
        self.registry = CollectorRegistry()
        self.changes = 0
        self.killed = False
        self.dialled: list[str] = []
        metrics, links = build_metrics(self.registry, "test"), PeerLinks()
        gateway, timeouts = EnvoySettings("127.0.0.1", 10000, ()), RemovalTimeouts(0.0, confirm_s)
        health = HealthLinks(links, metrics)
        self.control_plane = ControlPlane(
            gateway, metrics, timeouts, peers=links, health_peers=health, linger_s=linger_s, sleep=drain
        )
        self.fleet = Fleet(self.control_plane, links, health, metrics, self._changed)
        self.peers = Peers(self.fleet, name)

    def _changed(self) -> None:
        self.changes += 1

    def plan(self, **bodies: str) -> None:
        resources = [Resource(name, CLUSTER, body.encode()) for name, body in bodies.items()]
        providers = tuple(CatalogProvider(name, (Model("m", "m"),)) for name in bodies)
        self.control_plane.publish(Publication({r.key: r for r in resources}, Catalog(str(sorted(bodies)), providers)))

    def version(self, name: str) -> str:
        return self.control_plane.version(name) or "none"

    def gateways(self) -> dict[str, set[str]]:
        return {each.name: set(each.clusters) for each in self.fleet.gateways()}

    def count(self, metric: str) -> float | None:
        return self.registry.get_sample_value(metric)

    def _dialling(self, dial: Dial) -> Dial:
        def recorded(address: str) -> grpc.aio.Channel:
            self.dialled.append(address)
            return dial(address)

        return recorded

    @asynccontextmanager
    async def running(
        self,
        names: Callable[[], Awaitable[Collection[str]]],
        dial: Dial = grpc.aio.insecure_channel,
        tls_dir: Path | None = None,
    ) -> AsyncIterator["Replica"]:
        only = self.only or {}
        handler = self.peers.handler()
        if "replicas" in only:
            handler = only_for(handler, only["replicas"], "replicas")
        credentials = server_credentials(tls_dir) if tls_dir else None
        await self.control_plane.start(
            self.address, handler, credentials=credentials, gateway_name=only.get("gateways")
        )
        try:
            async with beside(self.fleet.run()), beside(self.peers.run(names, self._dialling(dial), soon)):
                yield self
        finally:
            if not self.killed:
                self.peers.close()
            await self.control_plane.stop(None if self.killed else 0.5)


class Worker:
    """An ext_proc worker: decides by the newest catalog it was sent."""

    def __init__(self, reporter: EvidenceReporter | None = None) -> None:
        self.catalogs: list[Catalog] = []
        self.reporter = reporter

    @property
    def names(self) -> set[str]:
        return {provider.name for provider in self.catalogs[-1].providers} if self.catalogs else set()

    @asynccontextmanager
    async def beside(self, node: str, address: str) -> AsyncIterator["Worker"]:
        task = asyncio.create_task(watch(address, node, self.catalogs.append, sleep=soon, reporter=self.reporter))
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


Pair = tuple[Replica, Replica]
