"""The order in which a plan reaches workers and Envoy, over gRPC with the real client of the data plane."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.operator.serve.side import NAMES, Side, catalog, names, raw_worker
from tests.waiting import until

from limpet_extproc.contract.catalog import (
    Hello,
    encode,
)
from limpet_operator.publish.resource import CLUSTER, SECRET, Publication, Resource
from limpet_operator.serve.acknowledgements import Acknowledgements
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts, Rollout
from limpet_operator.serve.xds_server import XdsServer


class Drains:
    """A sleep that ends when the test wants."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.gates: list[asyncio.Event] = []

    async def __call__(self, seconds: float) -> None:
        gate = asyncio.Event()
        self.slept.append(seconds)
        self.gates.append(gate)
        await gate.wait()


class World:
    """Rollout, both servers, and an Envoy that has whatever is published."""

    def __init__(self, address: str) -> None:
        self.side = Side(address)
        metrics = build_metrics(CollectorRegistry(), "test")
        self.xds = XdsServer(Acknowledgements(), metrics, lambda _: None, lambda _: None)
        self.drains = Drains()
        self.rollout = Rollout(self.xds, self.side.catalogs, RemovalTimeouts(5.0, 10.0), self.drains)

    def served(self, type_url: str = CLUSTER) -> set[str]:
        return set(self.xds.resources.by_type.get(type_url, {}))

    def apply(self, *providers: str, body: bytes = b"1") -> None:
        resources = [Resource(name, kind, body) for name in providers for kind in (CLUSTER, SECRET)]
        self.rollout.apply(Publication({r.key: r for r in resources}, catalog(*providers)))
        self.side.ack("n", *self.served())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(f"unix:{tmp_path}/catalog.sock")
    server = await serve(world.side.address, world.side.catalogs.handler())
    yield world
    await world.rollout.close()
    await server.stop(None)


async def test_a_removed_provider_leaves_the_catalog_then_drains_then_leaves_envoy(world: World) -> None:
    async with world.side.worker("n") as seen:
        world.apply("a", "b")
        await until(lambda: seen and names(seen[-1]) == ["a", "b"])
        world.apply("b")
        assert world.served() == world.served(SECRET) == {"a", "b"}
        await until(lambda: world.drains.gates)
        assert names(seen[-1]) == ["b"], "the drain begins after the worker has seen it"
        assert world.drains.slept == [5.0]
        assert world.served() == {"a", "b"}
        world.drains.gates[0].set()
        await world.rollout.drained()
        assert world.served() == world.served(SECRET) == {"b"}


async def test_what_comes_back_during_its_drain_stays_and_may_leave_again(world: World) -> None:
    world.apply("a", "b")
    world.apply("b")
    await until(lambda: len(world.drains.gates) == 1)
    world.apply("a", "b", body=b"2")
    assert world.xds.resources.by_type[CLUSTER]["a"].resource.body == b"2"
    world.apply("b", body=b"2")
    await until(lambda: len(world.drains.gates) == 2)
    world.drains.gates[0].set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.served() == {"a", "b"}, "the first drain no longer speaks for it"
    world.drains.gates[1].set()
    await world.rollout.drained()
    assert world.served() == {"b"}


@given(plans=st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=8), seed=st.randoms())
def test_any_sequence_of_plans_ends_with_the_last_one_and_never_lacks_a_planned_one(
    plans: list[set[str]], seed: Any
) -> None:
    async def play() -> None:
        world = World("nowhere")
        for plan in plans:
            world.apply(*sorted(plan))
            assert plan <= world.served()
            await asyncio.sleep(0)
            if world.drains.gates:
                seed.choice(world.drains.gates).set()
            await asyncio.sleep(0)
            assert plan <= world.served()
        drained = asyncio.create_task(world.rollout.drained())
        while not drained.done():
            for gate in world.drains.gates:
                gate.set()
            await asyncio.sleep(0)
        assert world.served() == plans[-1]
        assert world.served(SECRET) == plans[-1]

    asyncio.run(play())


async def test_a_worker_that_never_confirms_does_not_hold_up_a_removal_for_ever(tmp_path: Path) -> None:
    world = World(f"unix:{tmp_path}/catalog.sock")
    world.rollout = Rollout(world.xds, world.side.catalogs, RemovalTimeouts(0.0, 0.02))
    server = await serve(world.side.address, world.side.catalogs.handler())
    async with raw_worker(world.side.address) as mute:
        world.apply("a")
        await mute.write(encode(Hello("n")))
        await mute.read()
        world.apply()
        await world.rollout.drained()
        assert world.served() == set()
    await server.stop(None)
