"""A real Envoy that is connected to one replica of the operator, and its worker to another: no client notices."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry
from tests.envoy.conftest import set_stage
from tests.envoy.group import Load
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.fleet.peers import Peers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.metrics import ControlPlaneMetrics, build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


class Apart(LocalGateway):
    """A gateway whose Envoy is served by this process's first replica and its worker by the second."""

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings)
        self.links = PeerLinks()
        self.other_links = PeerLinks()
        timeouts = RemovalTimeouts(drain_s=settings.drain_s)
        self.control_plane = ControlPlane(self.envoy, metrics(), timeouts, peers=self.links)
        self.other = ControlPlane(self.envoy, metrics(), timeouts, peers=self.other_links)
        self._plans = 0

    def apply(self, plan: Plan) -> None:
        """One of the two hears of it a little later, in turn."""
        self._plans += 1
        loop = asyncio.get_running_loop()
        if self._plans % 2:
            super().apply(plan)
            loop.call_later(0.1, self.other.apply, plan)
        else:
            self.other.apply(plan)
            loop.call_later(0.1, super().apply, plan)

    async def serves(self) -> bool:
        """Whether requests can come: `ready` would wait for a worker of the first replica."""
        try:
            _, writer = await asyncio.open_connection(self.settings.host, self.settings.port)
        except OSError:
            return False
        writer.close()
        return self.other.catalogs.deciding == 1


def metrics() -> ControlPlaneMetrics:
    return build_metrics(CollectorRegistry(), "test")


@asynccontextmanager
async def replicas_of(gateway: Apart, addresses: tuple[str, str]) -> AsyncIterator[None]:
    """Both at their addresses, speaking with each other."""

    async def resolve() -> Collection[str]:
        return addresses

    control_planes = (gateway.control_plane, gateway.other)
    fleets = [
        Fleet(control_plane, links, HealthLinks(links, metrics()), metrics())
        for control_plane, links in zip(control_planes, (gateway.links, gateway.other_links), strict=True)
    ]
    peers = [Peers(fleet, name) for fleet, name in zip(fleets, "ab", strict=True)]
    await gateway.other.start(addresses[1], peers[1].handler())
    server = await serve(addresses[0], peers[0].handler())
    tasks = [asyncio.create_task(fleet.run()) for fleet in fleets]
    tasks += [asyncio.create_task(each.run(resolve, grpc.aio.insecure_channel)) for each in peers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in peers:
            each.close()
        await server.stop(0.5)
        await gateway.other.stop(0.5)


async def test_providers_come_and_go_under_load_and_no_request_is_lost(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    addresses = (f"unix:{tmp_path}/a.sock", f"unix:{tmp_path}/b.sock")
    metrics_port = free_port()
    settings = LocalSettings(
        port=free_port(),
        extproc_metrics_port=metrics_port,
        drain_s=0.5,
        extproc_flags=(f"--control-plane={addresses[1]}",),
    )
    gateway = Apart(settings)
    async with (
        replicas_of(gateway, addresses),
        gateway,
        set_stage(next(numbers), sellers, (gateway, metrics_port), parser) as stage,
    ):
        gateway.apply(Plan())
        await until(gateway.serves, "Envoy to listen and its worker to decide")
        assert gateway.control_plane.catalogs.deciding == 0, "it is connected to the other one only"
        await stage.serve("a", "b", "c")
        load = Load(stage)
        loading = asyncio.create_task(load.run(10))
        for names in [("a", "b"), ("a", "b", "c"), ("b", "c"), ("a", "c"), ("a", "b", "c"), ("b",)]:
            await stage.serve(*names)
            await asyncio.sleep(0.7)
        await loading
        assert not load.errors
        assert {answer.seller for _, _, answer in load.answers} == {"a", "b", "c"}
        assert load.undecided() == 0
