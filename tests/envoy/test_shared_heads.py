"""Conversations that share a long beginning read it where it is warm, instead of paying for it at each provider."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

Turn = Sequence[Mapping[str, Any]]

SYSTEM = LONG * 4


def _short_conversations(number: int) -> Turn:
    return [say(SYSTEM, "system"), say(f"Question {number}")]


def _a_clock_at_the_end_of_the_system_prompt(number: int) -> Turn:
    return [say(f"{SYSTEM} It is 12:0{number}.", "system"), say("What time is it?")]


def _a_window_that_drops_the_oldest_turns(number: int) -> Turn:
    turns = [say(f"Turn {at}", ("user", "assistant")[at % 2]) for at in range(2 * number, 2 * number + 5)]
    return [say(SYSTEM, "system"), *turns]


def _a_branched_history(number: int) -> Turn:
    return [say(SYSTEM, "system"), say("Begin"), say("Begun", "assistant"), say(f"Go on by way {number}")]


@pytest.mark.parametrize(
    "turn",
    [
        _short_conversations,
        _a_clock_at_the_end_of_the_system_prompt,
        _a_window_that_drops_the_oldest_turns,
        _a_branched_history,
    ],
    ids=lambda turn: turn.__name__.strip("_").replace("_", " "),
)
async def test_what_is_warm_is_read(stage: Stage, turn: Callable[[int], Turn]) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(turn(0))
    await stage.settle()
    for number in range(1, 5):
        answer = await stage.ask(turn(number))
        await stage.settle()
        assert answer.seller == first.seller, answer
        # The head is more than nine tenths of the prompt.
        assert answer.usage.prompt_tokens_details.cached_tokens > 0.8 * answer.usage.prompt_tokens
