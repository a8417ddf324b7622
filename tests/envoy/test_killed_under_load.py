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

    async def turn(number: int, *, stream: bool) -> None:
        try:
            async with busy[number]:
                messages = [say(LONG, "system"), say(f"Conversation {number}")]
                turns[number].append((await stage.ask(messages, stream=stream)).seller)
        except Exception as error:
            errors.append(error)

    async def load(seconds: float, *, streams: bool = True) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * _PER_SECOND)):
                group.create_task(turn(number % _CONVERSATIONS, stream=streams and number % 2 == 0))
                await asyncio.sleep(1 / _PER_SECOND)

    await load(6)
    homes = {number: sellers[-1] for number, sellers in turns.items()}
    victims = {number for number, home in homes.items() if home == "a"}
    assert victims
    assert len(victims) < _CONVERSATIONS

    turns.clear()
    # Whole answers while it dies: a stream that has begun by then is lost with whoever sends it, inherently.
    loading = asyncio.create_task(load(12, streams=False))
    await asyncio.sleep(2)
    stage.sellers["a"].kill()
    await loading
    moved = {number: sellers[-1] for number, sellers in turns.items()}
    for number, sellers in turns.items():
        if number in victims:
            after = [seller for seller in sellers if seller != "a"]
            assert sellers == ["a"] * (len(sellers) - len(after)) + after, "a conversation went back to the dead"
            assert len(set(after)) == 1, "a conversation moved more than once"
        else:
            assert set(sellers) == {homes[number]}, "a conversation moved without need"
    assert "a" not in moved.values()

    await stage.sellers["a"].start()
    turns.clear()
    await load(12)
    assert {number: set(sellers) for number, sellers in turns.items()} == {
        number: {home} for number, home in moved.items()
    }
    assert not errors
