"""What every memory must do. A new implementation joins by one line in `MEMORIES`."""

from collections.abc import Callable

import pytest

from limpet_extproc.memory import Memory, Remembered, Warm
from limpet_extproc.memory.in_process import PENDING_S, InProcessMemory

MEMORIES: dict[str, Callable[[], Memory]] = {"in_process": InProcessMemory}
KEY, OTHER = b"key", b"other"


@pytest.fixture(params=MEMORIES.values(), ids=MEMORIES.keys())
def memory(request: pytest.FixtureRequest) -> Memory:
    made: Memory = request.param()
    return made


def warm(provider: str, until_s: float = 300.0, prompt_tokens: int = 0) -> Warm:
    return Warm(provider, until_s, prompt_tokens)


def names(known: Remembered | None) -> list[str]:
    return [each.provider for each in known.warm] if known else []


async def test_an_unknown_conversation_is_none(memory: Memory) -> None:
    assert await memory.lookup(KEY, 0.0) is None


async def test_what_is_remembered_is_found_under_its_own_key_only(memory: Memory) -> None:
    memory.remember(KEY, warm("a", prompt_tokens=7), 4, 0.0)
    assert await memory.lookup(KEY, 0.0) == Remembered((warm("a", prompt_tokens=7),))
    assert await memory.lookup(OTHER, 0.0) is None


async def test_the_last_to_serve_comes_first(memory: Memory) -> None:
    for name in "abca":
        memory.remember(KEY, warm(name), 4, 0.0)
    assert names(await memory.lookup(KEY, 0.0)) == ["a", "c", "b"]


async def test_a_success_refreshes_what_is_known_of_that_provider(memory: Memory) -> None:
    memory.remember(KEY, warm("a", 100.0), 4, 0.0)
    memory.remember(KEY, warm("a", 200.0), 4, 50.0)
    assert await memory.lookup(KEY, 150.0) == Remembered((warm("a", 200.0),))


async def test_no_more_providers_are_kept_than_the_policy_says(memory: Memory) -> None:
    for name in "abcd":
        memory.remember(KEY, warm(name), 2, 0.0)
    assert names(await memory.lookup(KEY, 0.0)) == ["d", "c"]


async def test_others_that_have_gone_cold_are_left_out_at_the_next_success(memory: Memory) -> None:
    memory.remember(KEY, warm("a", 10.0), 4, 0.0)
    memory.remember(KEY, warm("b", 100.0), 4, 20.0)
    assert names(await memory.lookup(KEY, 20.0)) == ["b"]


async def test_what_has_expired_is_shown_once_more_so_that_it_can_be_named(memory: Memory) -> None:
    memory.remember(KEY, warm("a", 10.0), 4, 0.0)
    assert names(await memory.lookup(KEY, 10.0)) == ["a"]
    assert await memory.lookup(KEY, 10.0) is None


async def test_a_conversation_that_is_warm_anywhere_is_kept(memory: Memory) -> None:
    memory.remember(KEY, warm("long", 100.0), 4, 0.0)
    memory.remember(KEY, warm("short", 10.0), 4, 0.0)
    for _ in range(2):
        assert names(await memory.lookup(KEY, 50.0)) == ["short", "long"]


async def test_forgetting_takes_away_one_provider_and_at_last_the_conversation(memory: Memory) -> None:
    memory.remember(KEY, warm("a"), 4, 0.0)
    memory.remember(KEY, warm("b"), 4, 0.0)
    memory.forget(KEY, "b")
    assert names(await memory.lookup(KEY, 0.0)) == ["a"]
    memory.forget(KEY, "never heard of")
    memory.forget(KEY, "a")
    assert await memory.lookup(KEY, 0.0) is None
    memory.forget(KEY, "a")


async def test_a_request_under_way_is_known_until_its_outcome(memory: Memory) -> None:
    memory.expect(KEY, "a", 0.0)
    assert await memory.lookup(KEY, PENDING_S) == Remembered((), "a")
    memory.remember(KEY, warm("b"), 4, 1.0)
    assert await memory.lookup(KEY, 2.0) == Remembered((warm("b"),))


async def test_an_outcome_that_never_comes_frees_the_conversation(memory: Memory) -> None:
    memory.expect(KEY, "a", 0.0)
    assert await memory.lookup(KEY, PENDING_S + 1) is None


async def test_the_failure_of_the_request_under_way_is_forgotten_at_once(memory: Memory) -> None:
    memory.expect(KEY, "a", 0.0)
    memory.forget(KEY, "b")
    assert await memory.lookup(KEY, 0.0) == Remembered((), "a")
    memory.forget(KEY, "a")
    assert await memory.lookup(KEY, 0.0) is None


async def test_what_is_warm_outweighs_what_is_only_expected(memory: Memory) -> None:
    memory.remember(KEY, warm("a"), 4, 0.0)
    memory.expect(KEY, "b", 0.0)
    assert await memory.lookup(KEY, 0.0) == Remembered((warm("a"),))


async def test_one_process_keeps_a_bounded_number_of_conversations_those_used_last() -> None:
    memory = InProcessMemory(max_conversations=3)
    memory.expect(b"0", "a", 0.0)
    for key in (b"1", b"2"):
        memory.remember(key, warm("a"), 4, 0.0)
    assert await memory.lookup(b"1", 0.0)
    memory.remember(b"3", warm("a"), 4, 0.0)
    memory.expect(b"4", "a", 0.0)
    assert len(memory) == 3
    assert [await memory.lookup(key, 0.0) is not None for key in (b"0", b"1", b"2", b"3", b"4")] == [
        False, True, False, True, True,
    ]  # fmt: skip
