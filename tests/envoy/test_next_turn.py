"""After a request that no provider served, the conversation's next turn begins at another provider."""

from collections.abc import Mapping
from typing import Any

import openai
import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage

from limpet_lab.sim.faults import NO_FAULT, Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_ONE_ATTEMPT: Mapping[str, Any] = {"failover": {"maxAttempts": 1}}


def _conversation(number: int) -> list[dict[str, Any]]:
    return [say(LONG, "system"), say(f"Conversation {number}")]


async def _failed_at(stage: Stage, fault: Fault) -> str:
    """Have one more turn of conversation 0 fail; the seller that failed it, which is well again at once."""
    for seller in stage.each("a", "b"):
        await seller.set_fault(fault)
    with pytest.raises(openai.APIError):
        await stage.ask(_conversation(0), stream=True)
    (failed,) = [name for name in "ab" if await stage.sellers[name].fault() == NO_FAULT]
    for seller in stage.each("a", "b"):
        await seller.set_fault(NO_FAULT)
    await stage.settle()
    return failed


@pytest.mark.parametrize("turns_before", [0, 2], ids=["the first turn", "a later turn"])
@pytest.mark.parametrize(
    ("fault", "policy"),
    [
        (Fault(kind="reset_within_body", after_pieces=3, times=1), None),
        (Fault(kind="status", status=500, times=1), _ONE_ATTEMPT),
    ],
    ids=["a stream that breaks", "an error that is not tried elsewhere"],
)
async def test_the_failed_turn_is_the_only_loss_and_other_conversations_stay(
    stage: Stage, fault: Fault, policy: Mapping[str, Any] | None, turns_before: int
) -> None:
    await stage.serve("a", "b", policy=policy)
    others = {number: (await stage.ask(_conversation(number))).seller for number in range(1, 7)}
    homes = {(await stage.ask(_conversation(0))).seller for _ in range(turns_before)}
    await stage.settle()
    failed = await _failed_at(stage, fault)
    assert homes <= {failed}
    elsewhere = "b" if failed == "a" else "a"

    moved = await stage.ask(_conversation(0))
    assert (moved.seller, moved.decision) == (elsewhere, "sticky.left.failed")
    await stage.settle()
    stays = await stage.ask(_conversation(0))
    assert (stays.seller, stays.decision) == (elsewhere, "sticky.hit")
    for number, home in others.items():
        answer = await stage.ask(_conversation(number))
        assert (answer.seller, answer.decision) == (home, "sticky.hit")


async def test_the_only_provider_is_asked_again(stage: Stage) -> None:
    await stage.serve("a")
    await stage.sellers["a"].set_fault(Fault(kind="reset_within_body", after_pieces=3, times=1))
    with pytest.raises(openai.APIError):
        await stage.ask(_conversation(0), stream=True)
    await stage.settle()
    again = await stage.ask(_conversation(0))
    assert (again.seller, again.decision) == ("a", "first.scored")
