"""The memory of one process and the shared one answer the same after the same changes; across gateways too."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.extproc.memory.conftest import PROVIDERS, Gateways
from tests.extproc.memory.redis_server import RedisServer

from limpet_extproc.memory import LastFailure, Memory, Remembered, ServedTurn, Warm
from limpet_extproc.memory.in_process import InProcessMemory


@dataclass(frozen=True)
class Turn:
    """What a success tells of the turn."""

    age_s: float
    prompt_tokens: int
    output_tokens: int
    cause: str
    cached_tokens: int

    def at(self, now_s: float) -> ServedTurn:
        """Its end."""
        return ServedTurn(now_s - self.age_s, self.prompt_tokens, self.output_tokens, self.cause, self.cached_tokens)


@dataclass(frozen=True)
class Step:
    """Something happens some time later."""

    after_s: float
    what: Literal["lookup", "expect", "remember", "forget", "withdraw", "note_failure"]
    provider: str
    ttl_s: float
    max_providers: int
    tokens: int
    gateway: int
    failed: tuple[str, ...]
    chain: bytes
    turn: Turn | None


CHAIN = bytes(range(256)) * 3
"""Which others are beginnings of."""

STEPS = st.lists(
    st.builds(
        Step,
        after_s=st.one_of(st.just(0.0), st.floats(0.0, 150.0)),
        what=st.sampled_from(["lookup", "expect", "remember", "forget", "withdraw", "note_failure"]),
        provider=st.sampled_from(PROVIDERS[:4]),
        ttl_s=st.one_of(st.sampled_from([0.0, 5.0, 300.0]), st.floats(-10.0, 200.0)),
        max_providers=st.integers(1, 4),
        tokens=st.integers(0, 2**31),
        gateway=st.integers(0, 1),
        chain=st.one_of(st.binary(min_size=8, max_size=600), st.integers(0, 600).map(lambda length: CHAIN[:length])),
        turn=st.one_of(
            st.none(),
            st.builds(
                Turn,
                age_s=st.sampled_from([0.0, 0.1, 20.0]),
                prompt_tokens=st.integers(0, 2**31),
                cached_tokens=st.integers(0, 2**31),
                output_tokens=st.integers(0, 2**31),
                cause=st.sampled_from(["", "hit", "prefix_changed(message 3)", "provider_switched(sticky.left.down)"]),
            ),
        ),
        failed=st.lists(st.sampled_from(PROVIDERS[:4]), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    max_size=25,
)


async def told(memories: Sequence[Memory], key: bytes, steps: Sequence[Step]) -> list[Remembered | None]:
    """Play the steps, each at the memory that it names, and look at the end too."""
    now_s, answers = 0.0, []
    for step in steps:
        now_s += step.after_s
        memory = memories[step.gateway % len(memories)]
        match step.what:
            case "lookup":
                answers.append(await memory.lookup(key, now_s))
            case "expect":
                memory.expect(key, step.provider, now_s)
            case "remember":
                warm = Warm(step.provider, now_s + step.ttl_s, step.tokens, step.tokens // 2, step.chain)
                memory.remember(key, warm, step.max_providers, now_s, step.turn.at(now_s) if step.turn else None)
            case "forget":
                memory.forget(key, step.provider)
            case "withdraw":
                memory.withdraw(key, step.provider)
            case "note_failure":
                memory.note_failure(key, LastFailure(step.failed, now_s))
        if len(memories) > 1:
            await memory.written()  # type: ignore[attr-defined]
    return [*answers, await memories[0].lookup(key, now_s)]


def test_the_same_is_remembered_whatever_happens(shared_redis: RedisServer, numbers: Iterator[int]) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        gateways = Gateways(stack)
        one, first, second = (runner.run(gateways.memory_at(shared_redis.url)) for _ in range(3))

        @settings(max_examples=150, deadline=None)
        @given(STEPS)
        def check(steps: list[Step]) -> None:
            expected = runner.run(told([InProcessMemory()], b"key", steps))
            assert runner.run(told([one], next(numbers).to_bytes(16, "big"), steps)) == expected
            assert runner.run(told([first, second], next(numbers).to_bytes(16, "big"), steps)) == expected

        try:
            check()
        finally:
            runner.run(stack.aclose())
