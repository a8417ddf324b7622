"""A provider that is to leave: it keeps its warm conversations, takes no new ones, and its removal costs no request.

Two gateways with two workers each share a memory, and clients use both.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from tests.envoy.conftest import set_stage
from tests.envoy.group import Load, all_decide, gateway_of_two, shared_memory, turn
from tests.envoy.stage import Stage
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_SHORT_TTL_S: Final = 3.0
"""Of the caches that a story sees the end of; all others outlast it, however long a busy machine takes."""
_CONVERSATIONS: Final = range(24)
_fresh: Final = count(1000)
"""Conversations that nobody has had yet."""

Pair = tuple[Stage, Stage]


@pytest_asyncio.fixture(loop_scope="session")
async def pair(numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path) -> AsyncIterator[Pair]:
    number = next(numbers)
    with servers(RedisServer(tmp_path)) as (redis,):
        async with AsyncExitStack() as stack:
            stages = []
            for _ in range(2):
                running = await stack.enter_async_context(gateway_of_two(shared_memory(redis.url, tmp_path)))
                stages.append(await stack.enter_async_context(set_stage(number, sellers, running, parser)))
            yield stages[0], stages[1]


async def _serve(pair: Pair, *names: str, draining: str = "", ttl: str = "10m") -> None:
    """`ttl` is that of the caches of a draining provider."""
    for stage in pair:
        specs: dict[str, dict[str, Any]] = {name: {"cache": {"ttl": "10m"}} for name in names}
        if draining:
            specs[draining] = {"drain": True, "cache": {"ttl": ttl}}
        await stage.serve(*names, specs=specs)
        await all_decide(stage)


async def _takes_no_new_ones(pair: Pair, name: str) -> None:
    """Return when a provider drains at every worker: so many new conversations would not all avoid it by chance."""

    async def avoided() -> bool:
        answers = [await turn(stage, next(_fresh)) for stage in pair for _ in range(15)]
        return name not in {answer.seller for answer in answers}

    await until(avoided, f"{name} to take no new conversations")


async def _load(pair: Pair, seconds: float, conversations: Sequence[int] = _CONVERSATIONS) -> list[Load]:
    """Ask through both gateways at the same time; nothing may fail."""
    loads = [Load(stage, conversations) for stage in pair]
    async with asyncio.TaskGroup() as group:
        for load in loads:
            group.create_task(load.run(seconds))
    for load in loads:
        assert not load.errors, load.errors
        assert not load.undecided()
    return loads


def _went(loads: Sequence[Load]) -> dict[int, set[str]]:
    went: dict[int, set[str]] = {}
    for load in loads:
        for number, sellers in load.homes().items():
            went.setdefault(number, set()).update(sellers)
    return went


async def _settled(pair: Pair) -> dict[int, str]:
    """Where each conversation is at home, seen from both gateways."""
    homes = {number: (await turn(pair[0], number)).seller for number in _CONVERSATIONS}
    await pair[0].settle()
    assert {"a"} < set(homes.values())
    return homes


async def test_after_the_drain_a_removal_concerns_no_conversation(pair: Pair) -> None:
    await _serve(pair, "a", "b", "c")
    homes = await _settled(pair)
    await _serve(pair, "a", "b", "c", draining="a")
    await _takes_no_new_ones(pair, "a")
    assert _went(await _load(pair, 4)) == {number: {home} for number, home in homes.items()}

    at_a = [number for number, home in homes.items() if home == "a"]
    others = [number for number, home in homes.items() if home != "a"]
    await _serve(pair, "a", "b", "c", draining="a", ttl=f"{_SHORT_TTL_S:g}s")
    last = [await turn(pair[0], number) for number in at_a]
    assert {answer.seller for answer in last} == {"a"}
    await pair[0].settle()
    await _load(pair, _SHORT_TTL_S + 1, others)
    late = [await turn(stage, number) for stage, number in zip(pair, at_a, strict=False)]
    assert {answer.decision for answer in late} == {"sticky.expired"}
    assert "a" not in {answer.seller for answer in late}

    loading = asyncio.create_task(_load(pair, 5, others))
    await asyncio.sleep(1)
    await _serve(pair, "b", "c")
    assert _went(await loading) == {number: {homes[number]} for number in others}


async def test_a_removal_before_the_drain_moves_conversations_and_loses_no_request(pair: Pair) -> None:
    await _serve(pair, "a", "b", "c")
    homes = await _settled(pair)
    await _serve(pair, "a", "b", "c", draining="a")
    assert _went(await _load(pair, 2)) == {number: {home} for number, home in homes.items()}
    loading = asyncio.create_task(_load(pair, 4))
    await asyncio.sleep(1)
    await _serve(pair, "b", "c")
    removed_s = time.monotonic()
    # On a busy machine the first load may have ended before the removal.
    answers = [each for load in [*await loading, *await _load(pair, 3)] for each in load.answers]
    for number, home in homes.items():
        after = {answer.seller for asked_s, each, answer in answers if each == number and asked_s > removed_s}
        if home != "a":
            assert {answer.seller for _, each, answer in answers if each == number} == {home}, "it moved without need"
        else:
            assert len(after) == 1, "it moved more than once"
            assert "a" not in after
    assert "sticky.left.not_candidate" in {answer.decision for _, _, answer in answers}
