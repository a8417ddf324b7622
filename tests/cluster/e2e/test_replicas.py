"""Two operators and two gateways at once: a conversation stays where it is warm, and no part of Limpet is missed."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.cluster.e2e.installation import HEALTH, POLICY, VALUES, Installation, limpet, objects, provider
from tests.cluster.e2e.pair import (
    World,
    a_provider_is_away_for_a_while,
    a_worker_crashes,
    back_to_normal,
    disturbed,
    moved_from,
    new_gateways,
    no_operator_is_left,
    nothing,
    one_more_gateway,
    redis_is_killed,
    stayed,
    the_lease_moves,
    turns_around,
)
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.pods import Network

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.sim.sellers import Sellers

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(apiserver: ApiServer, network: Network, directory: Path, sellers: Sellers) -> AsyncIterator[World]:
    namespace = apiserver.namespace("pair")
    async with Kubelet.start(apiserver, namespace, directory, network, local_images()) as kubelet:
        installation = Installation(apiserver, kubelet, namespace)
        await installation.install(VALUES)
        for seller in sellers:
            await installation.apply(*objects(seller))
        await installation.apply(HEALTH, POLICY)
        await installation.programmed(*(seller.name for seller in sellers))
        yield World(installation, sellers)


HIT = ("sticky.hit",)


@pytest.mark.parametrize(
    ("happens", "decisions"),
    [
        (nothing, HIT),
        (redis_is_killed, ("first.scored",)),
        (one_more_gateway, HIT),
        (new_gateways, HIT),
        (a_provider_is_away_for_a_while, HIT),
        (the_lease_moves, HIT),
        (no_operator_is_left, HIT),
        (a_worker_crashes, HIT),
    ],
)
async def test_the_second_turn_goes_where_the_first_went(
    world: World, happens: Callable[[World], Awaitable[None]], decisions: tuple[str, ...]
) -> None:
    try:
        stayed(await turns_around(world, lambda: happens(world)), *decisions)
    finally:
        await back_to_normal(world)


async def test_without_redis_the_gateways_still_agree(world: World) -> None:
    await world.scale("redis", 0)
    try:
        stayed(await turns_around(world, lambda: nothing(world)), "first.scored")
    finally:
        await back_to_normal(world)


async def test_without_memory_the_suite_fails(world: World) -> None:
    """The negative control: what these tests look for is not there by itself."""
    await world.installation.apply(limpet("StickyPolicy", "default", models=["*"], mode="Off"))
    try:

        async def off() -> bool:
            pairs = await turns_around(world, lambda: nothing(world))
            return {turn.decision for pair in pairs for turn in pair} == {"off.spread"}

        await world.kubelet.until(off, "mode Off")
        with pytest.raises(AssertionError, match="moved: "):
            stayed(await turns_around(world, lambda: nothing(world)), "off.spread")
    finally:
        await world.installation.apply(POLICY)

        async def enforced() -> bool:
            pairs = await turns_around(world, lambda: nothing(world))
            return {two.decision for _, two in pairs} == {"sticky.hit"}

        await world.kubelet.until(enforced, "mode Enforce")


# Things that happen under load.


async def test_the_holder_of_the_lease_is_lost(world: World) -> None:
    seen = await disturbed(world, lambda: the_lease_moves(world))
    assert not seen.lost, str(seen)
    assert not seen.moved(), str(seen)


async def test_the_holder_of_the_lease_is_frozen_and_wakes_up(world: World) -> None:
    holder = await world.holder()
    operator = world.kubelet.container(holder, "operator")

    async def freeze() -> None:
        operator.send(signal.SIGSTOP)
        try:
            await world.kubelet.until(lambda: moved_from(world, holder), "another holder")
            await change(world)
        finally:
            operator.send(signal.SIGCONT)
        await world.installation.settled("both operators ready")

    seen = await disturbed(world, freeze)
    assert not seen.lost, str(seen)
    assert not seen.moved(), str(seen)


async def test_a_gateway_is_lost(world: World) -> None:
    """The SDK asks again by itself where no byte of an answer came; only answers that had begun are lost with it."""
    pod = world.gateways()[0].name
    begun = gone = 0.0

    async def lose() -> None:
        nonlocal begun, gone
        begun = time.monotonic()
        await world.lose(pod)
        gone = time.monotonic()
        await world.installation.settled("two gateways again")

    seen = await disturbed(world, lose, tries=3)
    others = [turn for turn in seen.lost if turn.ended < begun or turn.begun > gone]
    assert not others, str(seen)


@pytest.mark.parametrize(("container", "moves"), [("envoy", False), ("ext-proc", True)])
async def test_a_part_of_a_gateway_is_frozen_and_wakes_up(world: World, container: str, moves: bool) -> None:
    """Without its workers Envoy decides by its own rules for a while, so conversations may move."""
    pod = world.gateways()[0]

    async def freeze() -> None:
        pod.containers[container].send(signal.SIGSTOP)
        try:
            await world.kubelet.until(lambda: not pod.ready, "the frozen gateway out of the Service")
        finally:
            pod.containers[container].send(signal.SIGCONT)
        await world.installation.settled("both gateways ready")

    seen = await disturbed(world, freeze)
    assert not seen.lost, str(seen)
    assert moves or not seen.moved(), str(seen)


async def change(world: World) -> None:
    """Something that only a working operator brings into force and into the status."""
    ada, *others = world.sellers
    weight = 101 + int(time.monotonic()) % 9
    await world.installation.apply(provider(ada, weight=weight))
    await world.installation.programmed(ada.name, *(seller.name for seller in others))


def crash(server: ApiServer) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("what", [crash, ApiServer.restart_etcd, ApiServer.expire_watch_history])
async def test_kubernetes_itself_is_restarted(world: World, what: Callable[[ApiServer], None]) -> None:
    async def restart() -> None:
        await asyncio.to_thread(what, world.installation.server)
        await change(world)

    seen = await disturbed(world, restart)
    assert not seen.lost, str(seen)
    assert not seen.moved(), str(seen)


async def test_redis_is_restarted(world: World) -> None:
    seen = await disturbed(world, lambda: redis_is_killed(world))
    assert not seen.lost, str(seen)
