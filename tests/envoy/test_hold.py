"""Conversations that begin at once with the same long beginning: where the policy says so, one pays for it."""

import asyncio

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


async def test_others_wait_until_the_answer_to_the_first_one_begins(stage: Stage) -> None:
    await stage.serve("a", policy={"holdFirst": "4s"})
    seller, held_before = stage.sellers["a"], await stage.metric("limpet_held_seconds_count", end="warm")
    await seller.set_fault(Fault(kind="slow_drip", delay_s=0.25, times=1))
    head = say(LONG * 3, "system")
    first = asyncio.create_task(stage.ask([head, say("Conversation 0")], stream=True))

    async def has_arrived() -> bool:
        return len(await stage.arrivals("a")) == 1

    await until(has_arrived, "the first request at its provider")
    answers = await asyncio.gather(*(stage.ask([head, say(f"Conversation {number}")]) for number in range(1, 4)))
    # Its end would tell as well; that it tells before is what spares the others the wait.
    assert not first.done()
    assert {answer.decision for answer in answers} == {"first.warm_head"}
    for answer in answers:
        assert answer.usage.prompt_tokens_details.cached_tokens > 0
    assert await stage.metric("limpet_held_seconds_count", end="warm") - held_before == 3
    await first
