"""Requests that the mesh brings to the gateway go on while Providers come, move and go, and while istiod is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.cluster.world import ADDRESS
from tests.mesh.egress import MADE_UP, Egress
from tests.mesh.loaded import FURTHER, answered_by, loaded
from tests.mesh.story import MeshStage, Town, host_of

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    numbers: Iterator[int], sellers: Sellers, town: Town, egress: Egress, parser: Parser
) -> AsyncIterator[MeshStage]:
    for seller in sellers:
        await seller.reset()
    async with MeshStage(next(numbers), sellers, town, parser, f"http://{MADE_UP}/v1") as ready:
        await egress.bring(ready, ["a", "b"])
        await town.app.envoy.knows(f"{MADE_UP}:80")
        yield await ready.serve("a", "b")


async def test_providers_come_move_and_go_and_no_request_is_lost(stage: MeshStage, egress: Egress, town: Town) -> None:
    moved = town.mesh.name("b.elsewhere.example", ADDRESS)
    async with loaded(stage) as load:
        await answered_by(load, "a", "b")
        await egress.bring(stage, ["a", "b", "c"])
        await stage.serve("a", "b", "c")
        load.conversations = FURTHER
        await answered_by(load, "a", "b", "c")
        there = {"b": {"url": stage.sellers["b"].base_url.replace(ADDRESS, moved)}}
        await egress.bring(stage, ["a", "b", "c"], there)
        await stage.serve("a", "b", "c", specs=there)
        await town.app.envoy.knows(f"{moved}:80")
        await town.app.envoy.forgets(f"{host_of('b')}:80")
        await answered_by(load, "a", "b", "c")
        await stage.serve("b", "c", specs=there)
        await egress.bring(stage, ["b", "c"], there)
        await town.app.envoy.forgets(f"{host_of('a')}:80")
        await answered_by(load, "b", "c")


async def test_istiod_is_killed_and_comes_back_and_no_request_is_lost(
    stage: MeshStage, egress: Egress, town: Town
) -> None:
    async with loaded(stage) as load:
        await answered_by(load, "a", "b")
        town.mesh.istiod.program.kill()
        await stage.serve("a", "b", "c")  # the gateway follows its own control plane
        load.conversations = FURTHER
        await answered_by(load, "a", "b", "c")
        await asyncio.to_thread(town.mesh.istiod.start)
        await egress.bring(stage, ["a", "b", "c"])
        await town.app.envoy.knows(f"{host_of('c')}:80")
        await answered_by(load, "a", "b", "c")
