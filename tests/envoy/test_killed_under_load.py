"""One of three providers dies under load and comes back: no client notices, its conversations move at once and stay."""

import asyncio
from collections import defaultdict

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_PER_SECOND = 20
_CONVERSATIONS = 24


async def test_a_killed_provider_costs_no_client_anything(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    turns: dict[int, list[str]] = defaultdict(list)
    errors: list[BaseException] = []
    busy = [asyncio.Lock() for _ in range(_CONVERSATIONS)]
    under_way: set[asyncio.Task[None]] = set()

    async def turn(number: int) -> None:
        try:
            async with busy[number]:
                messages = [say(LONG, "system"), say(f"Conversation {number}")]
                turns[number].append((await stage.ask(messages, stream=number % 2 == 0)).seller)
        except Exception as error:
            errors.append(error)

    async def load(seconds: float) -> None:
        for number in range(int(seconds * _PER_SECOND)):
            task = asyncio.create_task(turn(number % _CONVERSATIONS))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(1 / _PER_SECOND)
        # The next step starts from whole answers: a stream that has begun when its provider dies is lost, inherently.
        await asyncio.gather(*under_way)

    await load(2.5)
    homes = {number: sellers[-1] for number, sellers in turns.items()}
    victims = {number for number, home in homes.items() if home == "a"}
    assert victims
    assert len(victims) < _CONVERSATIONS

    stage.sellers["a"].kill()
    turns.clear()
    await load(3)
    moved = {number: sellers[0] for number, sellers in turns.items()}
    assert all(len(set(sellers)) == 1 for sellers in turns.values()), "a conversation moved more than once"
    assert "a" not in moved.values()
    assert {number: moved[number] for number in homes if number not in victims} == {
        number: home for number, home in homes.items() if number not in victims
    }

    await stage.sellers["a"].start()
    turns.clear()
    await load(2.5)
    assert {number: set(sellers) for number, sellers in turns.items()} == {
        number: {home} for number, home in moved.items()
    }
    assert not errors
