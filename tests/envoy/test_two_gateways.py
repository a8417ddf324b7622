"""Two gateways of one installation: a conversation stays at its provider, whichever of the two its turns come by."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.envoy.conftest import set_stage
from tests.envoy.group import Load, all_decide, gateway_of_two, shared_memory, turn
from tests.envoy.stage import Stage
from tests.extproc.memory.redis_server import RedisServer, servers

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_CONVERSATIONS = range(12)


@asynccontextmanager
async def _both(
    number: int, sellers: Sellers, parser: Parser, redis_url: str, directory: Path
) -> AsyncIterator[tuple[Stage, Stage]]:
    """The same stage twice, each behind a gateway of its own."""
    async with AsyncExitStack() as stack:
        stages = []
        for _ in range(2):
            running = await stack.enter_async_context(gateway_of_two(shared_memory(redis_url, directory)))
            stages.append(await stack.enter_async_context(set_stage(number, sellers, running, parser)))
        for stage in stages:
            await stage.serve("a", "b", "c")
            await all_decide(stage)
        yield stages[0], stages[1]


async def test_the_second_turn_through_the_other_gateway_finds_the_warm_provider_and_goes_there_without_redis_too(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    with servers(RedisServer(tmp_path)) as (redis,):
        async with _both(next(numbers), sellers, parser, redis.url, tmp_path) as (a, b):
            first = [await turn(a, number) for number in _CONVERSATIONS]
            assert {answer.decision for answer in first} == {"first.scored"}
            homes = [answer.seller for answer in first]
            assert len(set(homes)) > 1, "conversations that are all in one place show nothing"
            await a.settle()
            second = [await turn(b, number) for number in _CONVERSATIONS]
            assert {answer.decision for answer in second} == {"sticky.hit"}
            assert [answer.seller for answer in second] == homes

            loads = Load(a), Load(b)
            async with asyncio.TaskGroup() as group:
                for load in loads:
                    group.create_task(load.run(5))
                await asyncio.sleep(2)
                redis.kill()
            for load in loads:
                assert not load.errors
                assert not load.undecided()
                went = load.homes()
                assert {number: went[number] for number in _CONVERSATIONS} == {
                    number: {home} for number, home in enumerate(homes)
                }
            assert loads[0].homes() == loads[1].homes()

            redis.start()
            for stage in (a, b):
                assert [(await turn(stage, number)).seller for number in _CONVERSATIONS] == homes


async def test_without_a_memory_they_still_agree(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}"
    async with _both(next(numbers), sellers, parser, nobody, tmp_path) as (a, b):
        through_a = [await turn(a, number) for number in _CONVERSATIONS]
        through_b = [await turn(b, number) for number in _CONVERSATIONS]
        assert {answer.decision for answer in through_a + through_b} == {"first.scored"}
        assert [answer.seller for answer in through_a] == [answer.seller for answer in through_b]
        assert len({answer.seller for answer in through_a}) > 1
