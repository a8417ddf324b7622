"""A provider that fails too often, though never several times in a row: conversations leave it."""

from itertools import count

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Still there?")]


async def test_a_conversation_leaves_a_provider_that_fails_every_second_request(stage: Stage) -> None:
    await stage.serve("a", "b")
    home = (await stage.ask(_OPENER)).seller
    other = "b" if home == "a" else "a"
    await stage.settle()
    assert (await stage.ask(_OPENER)).decision == "sticky.hit"
    order = {"provider": {"order": [stage.provider(home), stage.provider(other)]}}

    numbers = count()

    async def left() -> bool:
        # Of one conversation that fails again and again, the request may be the cause.
        knock = f"Knock {next(numbers)}"
        await stage.sellers[home].set_fault(Fault(kind="status", status=500, times=1))
        assert (await stage.ask(knock, extra=order)).seller == other, "no client notices"
        assert (await stage.ask(knock, extra=order)).seller == home
        await stage.settle()
        answer = await stage.ask(_OPENER)
        return (answer.seller, answer.decision) == (other, "sticky.left.degraded")

    await until(left, "the conversation to leave")
    await stage.settle()
    stays = await stage.ask(_OPENER)
    assert (stays.seller, stays.decision) == (other, "sticky.hit")
