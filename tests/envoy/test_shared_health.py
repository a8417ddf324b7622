"""Two gateways that share nothing but their operator's replicas: what one learns of a provider the other need not."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry
from tests.envoy.conftest import set_stage
from tests.envoy.group import turn
from tests.envoy.stage import Stage
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
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts
from limpet_operator.serve.tasks import beside

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_CONVERSATIONS = range(24)


class Linked(LocalGateway):
    """A gateway whose operator is one replica of several."""

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings)
        metrics, links = build_metrics(CollectorRegistry(), "test"), PeerLinks()
        health, timeouts = HealthLinks(links, metrics), RemovalTimeouts(drain_s=settings.drain_s)
        self.control_plane = ControlPlane(self.envoy, metrics, timeouts, peers=links, health_peers=health)
        self.fleet = Fleet(self.control_plane, links, health, metrics)

    @asynccontextmanager
    async def linked(self, address: str, addresses: Collection[str]) -> AsyncIterator[None]:
        """Meet the other replicas."""

        async def resolve() -> Collection[str]:
            return addresses

        peers = Peers(self.fleet, self.settings.node)
        server = await serve(address, peers.handler())
        try:
            async with beside(self.fleet.run()), beside(peers.run(resolve, grpc.aio.insecure_channel)):
                yield
        finally:
            peers.close()
            await server.stop(0.5)


@asynccontextmanager
async def both(number: int, sellers: Sellers, parser: Parser, directory: Path) -> AsyncIterator[tuple[Stage, Stage]]:
    """The same stage twice, each behind a gateway and a replica of its own."""
    addresses = {node: f"unix:{directory}/{node}.sock" for node in ("gateway-0", "gateway-1")}
    async with AsyncExitStack() as stack:
        stages = []
        for node, address in addresses.items():
            metrics_port = free_port()
            settings = LocalSettings(port=free_port(), node=node, extproc_metrics_port=metrics_port, drain_s=0.5)
            gateway = Linked(settings)
            await stack.enter_async_context(gateway.linked(address, addresses.values()))
            await stack.enter_async_context(gateway)
            gateway.apply(Plan())
            await gateway.ready()
            stages.append(await stack.enter_async_context(set_stage(number, sellers, (gateway, metrics_port), parser)))
        for stage in stages:
            await stage.serve("a", "b", "c")
            await until(partial(_connected, stage), "the health stream of every worker")
        yield stages[0], stages[1]


async def _connected(stage: Stage) -> bool:
    assert isinstance(stage.gateway, Linked)
    return "limpet_health_connected 1.0" in await stage.metrics_text() and bool(
        list(stage.gateway.fleet.gateways())[1:]
    )


async def test_a_provider_that_dies_costs_two_gateways_three_failures_and_one_trial_brings_it_back_for_both(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    async with both(next(numbers), sellers, parser, tmp_path) as stages:
        homes = [[(await turn(stage, number)).seller for number in _CONVERSATIONS] for stage in stages]
        dies = max("abc", key=lambda name: min(each.count(name) for each in homes))
        first, second = ([number for number in _CONVERSATIONS if each[number] == dies] for each in homes)
        assert len(first) > 2, "too few conversations to show anything"
        assert len(second) > 1, "too few conversations to show anything"
        for stage in stages:
            await stage.settle()
        sellers[dies].kill()
        try:
            meet = [(stages[0], first[0]), (stages[1], second[0]), (stages[0], first[1])]
            for failed, (stage, conversation) in enumerate(meet, start=1):
                assert (await turn(stage, conversation)).seller != dies
                await stage.settle()
                await until(partial(_told, stages, failed), f"{failed} failures known to both gateways")
            met = [await failed_attempts(stage, dies) for stage in stages]
            assert all(met), "both gateways have met it"
            for stage, left in zip(stages, (first[2:4], second[1:3]), strict=True):
                await stage.out(dies)
                assert dies not in {(await turn(stage, number)).seller for number in left}
                await stage.settle()
            assert [await failed_attempts(stage, dies) for stage in stages] == met, "nobody else has"
        finally:
            await sellers[dies].restart()
        others = count(len(_CONVERSATIONS))

        async def found_well() -> bool:
            return (await turn(stages[0], next(others))).seller == dies

        await until(found_well, "the first gateway to find that it is back")
        await until(partial(_is_back, stages[1], dies), "the second one to hear of it")
        assert await failed_attempts(stages[1], dies) == met[1]


async def _is_back(stage: Stage, seller: str) -> bool:
    return await stage.metric("limpet_provider_out", provider=stage.provider(seller)) == 0


async def test_what_one_gateway_asks_of_a_provider_with_limits_leaves_less_to_the_other(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    async with both(next(numbers), sellers, parser, tmp_path) as stages:
        one, other = stages
        dear = {"b": {"input": "2", "cacheRead": "0.2", "output": "8"}}
        for stage in stages:
            await stage.serve("a", "b", specs={"a": {"limits": {"requestsPerMinute": 6}}}, prices=dear)
        assert [(await turn(one, number)).seller for number in range(6)] == ["a"] * 6
        limit = {"provider": one.provider("a"), "limit": "requestsPerMinute"}

        async def told() -> bool:
            return await other.metric("limpet_provider_limit_used_ratio", **limit) == 1.0

        await until(told, "the other gateway to know that a is full")
        assert (await turn(other, 7)).seller == "b"
        assert (await turn(one, 8)).seller == "b"


async def failed_attempts(stage: Stage, seller: str) -> float:
    """Attempts at this seller that this gateway has seen fail; a request makes two where the first cannot connect."""
    attempts = await stage.metric("limpet_attempts_total", provider=stage.provider(seller))
    return attempts - await stage.metric("limpet_attempts_total", provider=stage.provider(seller), outcome="ok")


async def _told(stages: tuple[Stage, Stage], events: int) -> bool:
    """Whether so many events have been sent by one gateway or the other, and all received."""
    sent = [await stage.metric("limpet_gateway_events_total", way="sent") for stage in stages]
    received = [await stage.metric("limpet_gateway_events_total", way="received") for stage in stages]
    return sum(sent) >= events and received == sent[::-1]
