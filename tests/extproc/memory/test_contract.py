"""What every memory must do. A new implementation joins by a line in `MEMORIES`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio
from msgspec.structs import replace
from tests.extproc.memory.conftest import Gateways
from tests.extproc.memory.redis_server import RedisServer

from limpet_extproc.memory import (
    FAILED_S,
    PENDING_S,
    ConversationPace,
    LastFailure,
    Memory,
    Remembered,
    ServedTurn,
    Warm,
)
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.redis.redis_memory import RedisMemory


class Across:
    """Two gateways with one Redis: changes go to one, lookups to the other."""

    def __init__(self, told: RedisMemory, asked: RedisMemory) -> None:
        self._told = told
        self._asked = asked

    async def lookup(self, key: bytes, now_s: float, *, peek: bool = False) -> Remembered | None:
        await self._told.written()
        known = await self._asked.lookup(key, now_s, peek=peek)
        await self._asked.written()
        return known

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        self._told.expect(key, provider, now_s)

    def remember(
        self, key: bytes, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None = None
    ) -> None:
        self._told.remember(key, warm, max_providers, now_s, turn)

    def forget(self, key: bytes, provider: str) -> None:
        self._told.forget(key, provider)

    def withdraw(self, key: bytes, provider: str) -> None:
        self._told.withdraw(key, provider)

    def note_failure(self, key: bytes, failure: LastFailure) -> None:
        self._told.note_failure(key, failure)


async def _in_process(_: Gateways, __: str) -> Memory:
    return InProcessMemory()


async def _redis(gateways: Gateways, url: str) -> Memory:
    return await gateways.memory_at(url)


async def _across(gateways: Gateways, url: str) -> Memory:
    return Across(await gateways.memory_at(url), await gateways.memory_at(url))


MEMORIES: dict[str, Callable[[Gateways, str], Awaitable[Memory]]] = {
    "in_process": _in_process,
    "redis": _redis,
    "redis_across_gateways": _across,
}


@pytest_asyncio.fixture(params=MEMORIES.values(), ids=MEMORIES.keys())
async def memory(
    request: pytest.FixtureRequest, gateways: Gateways, shared_redis: RedisServer
) -> AsyncIterator[Memory]:
    made: Memory = await request.param(gateways, shared_redis.url)
    yield made


@pytest.fixture
def other_key(numbers: Iterator[int]) -> bytes:
    return next(numbers).to_bytes(16, "big")


def warm(provider: str, until_s: float = 300.0, prompt_tokens: int = 0) -> Warm:
    return Warm(provider, until_s, prompt_tokens)


def names(known: Remembered | None) -> list[str]:
    return [each.provider for each in known.warm] if known else []


async def test_an_unknown_conversation_is_none(memory: Memory, key: bytes) -> None:
    assert await memory.lookup(key, 0.0) is None


async def test_what_is_remembered_is_found_under_its_own_key_only(memory: Memory, key: bytes, other_key: bytes) -> None:
    memory.remember(key, warm("a", prompt_tokens=7), 4, 0.0)
    assert await memory.lookup(key, 0.0) == Remembered((warm("a", prompt_tokens=7),))
    assert await memory.lookup(other_key, 0.0) is None


async def test_the_last_to_serve_comes_first(memory: Memory, key: bytes) -> None:
    for name in "abca":
        memory.remember(key, warm(name), 4, 0.0)
    assert names(await memory.lookup(key, 0.0)) == ["a", "c", "b"]


async def test_a_success_refreshes_that_provider(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a", 100.0), 4, 0.0)
    memory.remember(key, warm("a", 200.0), 4, 50.0)
    assert await memory.lookup(key, 150.0) == Remembered((warm("a", 200.0),))


async def test_no_more_providers_are_kept_than_the_policy_says(memory: Memory, key: bytes) -> None:
    for name in "abcd":
        memory.remember(key, warm(name), 2, 0.0)
    assert names(await memory.lookup(key, 0.0)) == ["d", "c"]


async def test_others_that_have_gone_cold_are_left_out_at_the_next_success(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a", 10.0), 4, 0.0)
    memory.remember(key, warm("b", 100.0), 4, 20.0)
    assert names(await memory.lookup(key, 20.0)) == ["b"]


async def test_what_has_expired_is_shown_once_more_so_that_it_can_be_named(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a", 10.0), 4, 0.0)
    assert names(await memory.lookup(key, 10.0)) == ["a"]
    assert await memory.lookup(key, 10.0) is None


async def test_a_look_that_changes_nothing_can_be_repeated(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a", 10.0), 4, 0.0)
    for _ in range(2):
        assert names(await memory.lookup(key, 10.0, peek=True)) == ["a"]
    assert names(await memory.lookup(key, 10.0)) == ["a"]
    assert await memory.lookup(key, 10.0, peek=True) is None


async def test_a_conversation_that_is_warm_anywhere_is_kept(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("long", 100.0), 4, 0.0)
    memory.remember(key, warm("short", 10.0), 4, 0.0)
    for _ in range(2):
        assert names(await memory.lookup(key, 50.0)) == ["short", "long"]


async def test_forgetting_takes_away_one_provider_and_at_last_the_conversation(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a"), 4, 0.0)
    memory.remember(key, warm("b"), 4, 0.0)
    memory.forget(key, "b")
    assert names(await memory.lookup(key, 0.0)) == ["a"]
    memory.forget(key, "never heard of")
    memory.forget(key, "a")
    assert await memory.lookup(key, 0.0) is None
    memory.forget(key, "a")


async def test_a_request_under_way_is_known_until_its_outcome(memory: Memory, key: bytes) -> None:
    memory.expect(key, "a", 0.0)
    assert await memory.lookup(key, PENDING_S) == Remembered((), "a")
    memory.remember(key, warm("b"), 4, 1.0)
    assert await memory.lookup(key, 2.0) == Remembered((warm("b"),))


async def test_an_outcome_that_never_comes_frees_the_conversation(memory: Memory, key: bytes) -> None:
    memory.expect(key, "a", 0.0)
    assert await memory.lookup(key, PENDING_S + 1) is None


async def test_a_request_that_will_not_be_remembered_is_no_longer_under_way(memory: Memory, key: bytes) -> None:
    memory.expect(key, "a", 0.0)
    memory.forget(key, "b")
    assert await memory.lookup(key, 0.0) == Remembered((), "a")
    memory.forget(key, "a")
    assert await memory.lookup(key, 0.0) is None


async def test_providers_that_failed_are_known_for_a_while_and_no_longer_warm(memory: Memory, key: bytes) -> None:
    for name in "abc":
        memory.remember(key, warm(name), 4, 0.0)
    failure = LastFailure(("c", "a"), 10.0)
    memory.note_failure(key, failure)
    known = await memory.lookup(key, 10.0)
    assert known == Remembered((warm("b"),), None, failure)
    assert known.failed_lately(10.0 + FAILED_S - 1) == ("c", "a")
    assert known.failed_lately(10.0 + FAILED_S) == ()


async def test_the_failure_of_a_first_request_is_known_for_a_while_and_then_nothing_is(
    memory: Memory, key: bytes
) -> None:
    memory.expect(key, "a", 0.0)
    failure = LastFailure(("a",), 100.0)
    memory.note_failure(key, failure)
    assert await memory.lookup(key, 100.0 + FAILED_S - 1) == Remembered((), None, failure)
    assert await memory.lookup(key, 100.0 + FAILED_S) is None


async def test_only_the_last_failure_counts(memory: Memory, key: bytes) -> None:
    memory.note_failure(key, LastFailure(("a",), 0.0))
    memory.note_failure(key, LastFailure(("b",), 5.0))
    assert await memory.lookup(key, 5.0) == Remembered((), None, LastFailure(("b",), 5.0))


async def test_a_failure_is_known_while_the_next_request_is_under_way_and_ends_with_its_success(
    memory: Memory, key: bytes
) -> None:
    failure = LastFailure(("a", "b"), 0.0)
    memory.note_failure(key, failure)
    memory.expect(key, "c", 1.0)
    assert await memory.lookup(key, 1.0) == Remembered((), "c", failure)
    memory.forget(key, "b")
    assert await memory.lookup(key, 1.0) == Remembered((), "c", LastFailure(("a",), 0.0))
    memory.remember(key, warm("c"), 4, 2.0)
    assert await memory.lookup(key, 2.0) == Remembered((warm("c"),))


async def test_where_staying_does_not_pay_a_success_ends_the_failure_of_that_provider(
    memory: Memory, key: bytes
) -> None:
    memory.note_failure(key, LastFailure(("a",), 0.0))
    memory.forget(key, "b")
    assert await memory.lookup(key, 0.0) == Remembered((), None, LastFailure(("a",), 0.0))
    memory.forget(key, "a")
    assert await memory.lookup(key, 0.0) is None


async def test_what_is_warm_outweighs_what_is_only_expected(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a"), 4, 0.0)
    memory.expect(key, "b", 0.0)
    assert await memory.lookup(key, 0.0) == Remembered((warm("a"),))


def turn(started_s: float, prompt_tokens: int = 100, output_tokens: int = 10) -> ServedTurn:
    return ServedTurn(started_s, prompt_tokens, output_tokens, "hit")


async def test_what_the_cache_holds_is_told_by_the_chain_of_each_place(memory: Memory, key: bytes) -> None:
    for name, chain in (("a", b"\0\xff" * 4), ("b", bytes(range(256)) * 2 + b"size"), ("c", b"")):
        memory.remember(key, Warm(name, 300.0, 7, 5, chain), 4, 0.0)
    known = await memory.lookup(key, 0.0)
    assert known is not None
    assert [each.chain for each in known.warm] == [b"", bytes(range(256)) * 2 + b"size", b"\0\xff" * 4]


async def test_what_else_was_asked_for_is_told_with_a_chain(memory: Memory, key: bytes) -> None:
    for name, settings in (("a", b"\0\1"), ("b", b""), ("c", b"\xff\0")):
        memory.remember(key, Warm(name, 300.0, 7, 5, b"\0" * 8, settings), 4, 0.0)
    known = await memory.lookup(key, 0.0)
    assert known is not None
    assert [each.settings for each in known.warm] == [b"\xff\0", b"", b"\0\1"]


async def test_the_pace_of_a_conversation_is_learned_from_its_turns(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a"), 4, 0.0, turn(0.0, 100, 10))
    memory.remember(key, warm("b"), 4, 10.0, turn(10.0, 160, 30))
    memory.remember(key, warm("a"), 4, 40.0, turn(40.0, 180, 20))
    known = await memory.lookup(key, 40.0)
    assert known is not None
    assert known.pace == ConversationPace(3, 40.0, 20.0, 180, 40.0, 20.0)
    assert known.cause == "hit"


async def test_a_turn_that_is_not_told_of_changes_no_pace(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a"), 4, 0.0, turn(0.0))
    memory.remember(key, warm("a"), 4, 10.0)
    known = await memory.lookup(key, 10.0)
    assert known is not None
    assert (known.pace.turns, known.cause) == (1, "hit")


async def test_of_a_conversation_that_went_cold_the_pace_is_left(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a", 100.0), 4, 0.0, turn(0.0))
    paced = Remembered(pace=ConversationPace(1, 0.0, 0.0, 100, 0.0, 10.0), cause="hit")
    assert names(await memory.lookup(key, 500.0)) == ["a"]
    for _ in range(2):
        assert await memory.lookup(key, 500.0) == paced
    memory.expect(key, "b", 500.0)
    assert await memory.lookup(key, 500.0) == replace(paced, pending="b")
    memory.forget(key, "b")
    assert await memory.lookup(key, 500.0) == paced
    memory.remember(key, warm("b", 900.0), 4, 501.0, turn(500.0))
    known = await memory.lookup(key, 501.0)
    assert known is not None
    assert (known.pace.turns, known.pace.gap_s) == (2, 500.0)


async def test_a_failure_leaves_the_pace(memory: Memory, key: bytes) -> None:
    memory.remember(key, warm("a"), 4, 0.0, turn(0.0))
    memory.note_failure(key, LastFailure(("a",), 10.0))
    for now_s, failure in ((10.0, LastFailure(("a",), 10.0)), (10.0 + FAILED_S, None)):
        known = await memory.lookup(key, now_s)
        assert known is not None
        assert (known.warm, known.failure, known.pace.turns) == ((), failure, 1)
