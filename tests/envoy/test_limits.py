"""Limits of a provider: who comes when it is full goes elsewhere, before it would answer 429."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, say
from tests.envoy.conftest import set_stage
from tests.envoy.group import WORKERS, all_decide, gateway_of_two, shared_memory
from tests.envoy.stage import Answer, Stage
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_lab.sim.faults import NO_FAULT, Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_DEAR = {"input": "2", "cacheRead": "0.2", "output": "8"}


async def _limited(stage: Stage, limits: dict[str, int], **more: Any) -> Stage:
    """Everybody prefers `a`, which has these limits, to `b`, which is much dearer."""
    return await stage.serve("a", "b", specs={"a": {"limits": limits}}, prices={"b": _DEAR}, **more)


def _conversation(number: int) -> list[dict[str, Any]]:
    return [say(LONG, "system"), say(f"Conversation {number}")]


async def test_the_sixth_request_of_a_minute_goes_elsewhere_and_so_does_a_warm_conversation(stage: Stage) -> None:
    await _limited(stage, {"requestsPerMinute": 5})
    first = [await stage.ask(_conversation(number)) for number in range(7)]
    assert [answer.seller for answer in first] == ["a"] * 5 + ["b"] * 2
    await stage.settle()
    again = await stage.ask(_conversation(0))
    assert (again.seller, again.decision) == ("b", "sticky.left.over_limit")
    assert len(await stage.arrivals("a")) == 5

    async def shown() -> bool:
        labels = {"provider": stage.provider("a"), "limit": "requestsPerMinute"}
        return await stage.metric("limpet_provider_limit_used_ratio", **labels) == 1.0

    await until(shown, "a shown as full")


async def test_where_all_are_full_they_are_tried_all_the_same(stage: Stage) -> None:
    await stage.serve("a", "b", specs={name: {"limits": {"requestsPerMinute": 2}} for name in "ab"})
    answers = [await stage.ask(_conversation(number)) for number in range(6)]
    assert sorted(answer.seller for answer in answers[:4]) == ["a", "a", "b", "b"]
    assert [answer.decision for answer in answers[4:]] == ["last_resort.all_out"] * 2
    assert sorted(answer.seller for answer in answers[4:]) == ["a", "b"], "the one with most room comes first"


async def test_a_place_is_free_again_when_its_request_has_ended(stage: Stage) -> None:
    await _limited(stage, {"concurrentRequests": 1})
    await stage.sellers["a"].set_fault(Fault(kind="latency", delay_s=3.0))
    slow = asyncio.create_task(stage.ask(_conversation(0)))
    await until(lambda: _arrived(stage, "a"), "the slow request at a")
    assert [(await stage.ask(_conversation(number))).seller for number in (1, 2)] == ["b", "b"]
    assert (await slow).seller == "a"
    await stage.sellers["a"].set_fault(NO_FAULT)
    await stage.settle()
    assert (await stage.ask(_conversation(3), stream=True)).seller == "a"


async def _arrived(stage: Stage, seller: str) -> bool:
    return bool(await stage.arrivals(seller))


async def test_tokens_count_as_reported_once_the_answer_has_come(stage: Stage) -> None:
    await _limited(stage, {"tokensPerMinute": 5000})
    answers: list[Answer] = []
    while not answers or answers[-1].seller == "a":
        answers.append(await stage.ask(_conversation(len(answers))))
        await stage.settle()
    used = sum(answer.usage.total_tokens for answer in answers[:-1])
    one = answers[0].usage.total_tokens
    assert used <= 5000
    # What a request is expected to take is more than it does: about twice its prompt, and 400 of answer.
    assert used + 2 * one + 400 > 5000, "it was left with much room"


async def test_a_failover_counts_where_it_is_served_while_its_answer_comes(stage: Stage) -> None:
    limits = {"a": {"limits": {"concurrentRequests": 1}}, "b": {"limits": {"concurrentRequests": 1}}}
    await stage.serve("a", "b", "c", specs=limits, prices={"b": _DEAR, "c": {**_DEAR, "input": "9", "output": "30"}})
    await stage.sellers["a"].set_fault(Fault(kind="status", status=503, times=1))
    await stage.sellers["b"].set_fault(Fault(kind="slow_drip", delay_s=0.5))
    slow = asyncio.create_task(stage.ask(_conversation(0), stream=True, max_tokens=12))

    async def moved() -> bool:
        labels = {"limit": "concurrentRequests"}
        of_a = await stage.metric("limpet_provider_limit_used_ratio", provider=stage.provider("a"), **labels)
        of_b = await stage.metric("limpet_provider_limit_used_ratio", provider=stage.provider("b"), **labels)
        return (of_a, of_b) == (0.0, 1.0)

    await until(moved, "the request to count at b instead of a")
    assert (await stage.ask(_conversation(1))).seller == "a"
    assert (await slow).seller == "b"
    assert await stage.metric("limpet_provider_out") == 0, "a failed once, however long the answer of b took"


@pytest_asyncio.fixture(loop_scope="session")
async def group(numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage behind two workers that remember together."""
    with servers(RedisServer(tmp_path)) as (redis,):
        async with (
            gateway_of_two(shared_memory(redis.url, tmp_path)) as running,
            set_stage(next(numbers), sellers, running, parser) as stage,
        ):
            yield stage


async def test_workers_beside_one_envoy_count_together(group: Stage) -> None:
    await _limited(group, {"requestsPerMinute": 6})
    await all_decide(group)
    answers = [await group.ask(_conversation(number)) for number in range(12)]
    at_a = sum(answer.seller == "a" for answer in answers)
    assert 6 <= at_a <= 6 + WORKERS - 1, "each may decide one before it hears of the other's"
    await group.settle()
    full = {answer.seller for answer in [await group.ask(_conversation(number)) for number in range(12, 16)]}
    assert full == {"b"}


async def test_a_place_is_free_for_both_workers_whichever_gets_the_log_entry(group: Stage) -> None:
    await _limited(group, {"concurrentRequests": 2})
    await all_decide(group)
    for number in range(8):
        assert (await group.ask(_conversation(number))).seller == "a"
        await group.settle()
