"""When a conversation is sticky by OpenRouter's documents."""

import pytest

from limpet_extproc.memory import Warm
from limpet_lab.peers.stickiness import IDLE_S, NoMemory, StickyAfterHit

KEY = b"conversation"


def _served(provider: str, cached: int, at_s: float = 0.0) -> Warm:
    return Warm(provider, at_s + IDLE_S, 4_213, cached)


@pytest.mark.parametrize(
    ("named", "cached", "sticky"), [(False, 0, False), (False, 4_096, True), (True, 0, True), (True, 4_096, True)]
)
async def test_a_cache_read_or_a_named_session_makes_it_sticky(named: bool, cached: int, sticky: bool) -> None:
    memory = StickyAfterHit()
    if named:
        memory.expect(KEY, "a", 0.0)
    memory.remember(KEY, _served("a", cached), 4, 0.0)
    remembered = await memory.lookup(KEY, 1.0)
    assert (remembered is not None) is sticky
    assert remembered is None or remembered.warm[0].provider == "a"


async def test_ten_idle_minutes_end_it_and_each_success_begins_them_anew() -> None:
    memory = StickyAfterHit()
    memory.remember(KEY, _served("a", 64), 4, 0.0)
    assert await memory.lookup(KEY, IDLE_S - 1) is not None
    memory.remember(KEY, _served("a", 0, at_s=IDLE_S - 1), 4, IDLE_S - 1)
    assert await memory.lookup(KEY, 2 * IDLE_S - 2) is not None
    assert await memory.lookup(KEY, 2 * IDLE_S - 1) is None


async def test_an_error_there_routes_the_next_request_anew() -> None:
    memory = StickyAfterHit()
    memory.remember(KEY, _served("a", 64), 4, 0.0)
    memory.forget(KEY, "b")
    assert await memory.lookup(KEY, 1.0) is not None
    memory.forget(KEY, "a")
    assert await memory.lookup(KEY, 1.0) is None


async def test_a_miss_elsewhere_moves_nothing() -> None:
    memory = StickyAfterHit()
    memory.remember(KEY, _served("a", 64), 4, 0.0)
    memory.remember(KEY, _served("b", 0), 4, 0.0)
    remembered = await memory.lookup(KEY, 1.0)
    assert remembered is not None
    assert remembered.warm[0].provider == "a"


async def test_it_is_bounded() -> None:
    memory = StickyAfterHit(max_conversations=2)
    for number in range(5):
        memory.remember(bytes([number]), _served("a", 64), 4, 0.0)
    kept = [number for number in range(5) if await memory.lookup(bytes([number]), 1.0)]
    assert kept == [3, 4]


async def test_no_memory_has_none() -> None:
    memory = NoMemory()
    memory.expect(KEY, "a", 0.0)
    memory.remember(KEY, _served("a", 64), 4, 0.0)
    assert await memory.lookup(KEY, 0.0) is None
