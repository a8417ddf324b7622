"""Lookups and changes of the shared memory, against a Redis that the test scripts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from prometheus_client import CollectorRegistry
from tests.extproc.memory.conftest import PROVIDERS, Gateway
from tests.extproc.memory.redis.test_failures import LogLines
from tests.waiting import until

from limpet_extproc.memory import Remembered, Warm
from limpet_extproc.memory.redis.connector import FAILURES_TO_AWAY, Connector
from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.redis_memory import RedisMemory
from limpet_extproc.memory.redis.short_names import ShortNames
from limpet_extproc.memory.redis.store import Write

KEY = b"key"
NAMES = ShortNames(lambda: PROVIDERS)
SOON_S = 0.3


@dataclass
class Scripted:
    """A store that answers while it is open, and notes its calls."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    reads: list[list[bytes]] = field(default_factory=list)
    writes: list[list[Write]] = field(default_factory=list)
    error: RedisError | None = None
    left: bytes | RedisError | None = None
    closed: int = 0
    under_way: int = 0

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        self.reads.append(list(keys))
        await self._opened()
        if self.error:
            raise self.error
        return [None] * len(keys)

    async def write(self, writes: Sequence[Write]) -> Sequence[bytes | RedisError | None]:
        self.writes.append(list(writes))
        await self._opened()
        return [self.left] * len(writes)

    async def close(self) -> None:
        assert not self.under_way, "it could open a connection that stays"
        self.closed += 1

    async def _opened(self) -> None:
        self.under_way += 1
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1


@asynccontextmanager
async def opened(store: Scripted, deadline_s: float = 30.0) -> AsyncIterator[Gateway]:
    async def connect() -> Scripted:
        return store

    registry = CollectorRegistry()
    memory = RedisMemory(connect, NAMES, MemoryLog("redis://scripted", registry), deadline_s)
    store.open.set()
    await memory.start()
    store.reads.clear()
    try:
        yield Gateway(memory, registry)
    finally:
        store.open.set()
        await memory.close()


async def test_lookups_of_the_same_moment_share_a_round_trip() -> None:
    store = Scripted()
    async with opened(store) as gateway:
        await asyncio.gather(*(gateway.memory.lookup(bytes([number]), 0.0) for number in range(20)))
        assert [len(keys) for keys in store.reads] == [20]


async def test_a_few_reads_are_under_way_at_a_time_and_the_rest_joins_the_next() -> None:
    store = Scripted()
    async with opened(store) as gateway:
        store.open.clear()
        lookup = []
        for number in range(10):
            lookup.append(asyncio.create_task(gateway.memory.lookup(bytes([number]), 0.0)))
            for _ in range(5):
                await asyncio.sleep(0)
        assert [len(keys) for keys in store.reads] == [1, 1, 1, 1]
        store.open.set()
        await asyncio.gather(*lookup)
        assert [len(keys) for keys in store.reads] == [1, 1, 1, 1, 6]


async def test_a_lookup_of_what_is_being_written_takes_the_result_of_the_write_and_later_changes() -> None:
    store = Scripted()
    async with opened(store) as gateway:
        memory = gateway.memory
        store.open.clear()
        store.left = msgspec.msgpack.encode((1, "", 0.0, ((NAMES.short("b"), 300.0, 0, 0),)))
        memory.remember(KEY, Warm("b", 300.0), 4, 0.0)
        await asyncio.sleep(0)
        memory.remember(KEY, Warm("c", 300.0), 4, 0.0)
        lookup = asyncio.create_task(memory.lookup(KEY, 0.0))
        await asyncio.sleep(0)
        store.open.set()
        assert await lookup == Remembered((Warm("c", 300.0), Warm("b", 300.0)))
        assert store.reads == []


async def test_a_lookup_of_what_could_not_be_written_reads_the_old_value() -> None:
    store = Scripted(left=RedisError("full"))
    async with opened(store) as gateway:
        gateway.memory.remember(KEY, Warm("b", 300.0), 4, 0.0)
        assert await gateway.memory.lookup(KEY, 0.0) is None
        assert len(store.reads) == 1
        assert gateway.failures("write", "full") == 1


async def test_changes_of_one_conversation_are_written_together_and_in_order() -> None:
    store = Scripted()
    async with opened(store) as gateway:
        for provider in "abc":
            gateway.memory.expect(KEY, provider, 0.0)
        gateway.memory.expect(b"other", "a", 0.0)
        await gateway.memory.written()
        (batch,) = store.writes
        assert [(key, len(changes)) for key, changes in batch] == [(b"lmpt:key", 3), (b"lmpt:other", 1)]


async def test_a_single_late_answer_does_not_send_it_away_but_several_in_a_row_do(log_lines: LogLines) -> None:
    store = Scripted()
    async with opened(store, SOON_S) as gateway:
        for _ in range(FAILURES_TO_AWAY - 1):
            store.open.clear()
            assert await gateway.memory.lookup(KEY, 0.0) is None
        store.open.set()
        await asyncio.sleep(0)
        await gateway.memory.lookup(KEY, 0.0)
        assert gateway.up
        for _ in range(FAILURES_TO_AWAY):
            store.open.clear()
            assert await gateway.memory.lookup(KEY, 0.0) is None
        assert not gateway.up
        assert gateway.failures("lookup", "timeout") == 2 * FAILURES_TO_AWAY - 1
        assert len([line for line in log_lines() if "is away" in line]) == 1
        store.open.set()
        await until(lambda: gateway.up)
        assert store.closed == 1


async def test_many_that_were_late_in_the_same_moment_do_not_send_it_away() -> None:
    store = Scripted()
    async with opened(store, SOON_S) as gateway:
        store.open.clear()
        many = [gateway.memory.lookup(bytes([number]), 0.0) for number in range(50)]
        assert await asyncio.gather(*many) == [None] * 50
        assert gateway.failures("lookup", "timeout") == 50
        assert gateway.up


async def test_what_is_under_way_when_a_store_is_given_up_ends_before_it_is_closed() -> None:
    store = Scripted()
    async with opened(store) as gateway:
        connector = gateway.memory._connector
        store.open.clear()
        lookups = [asyncio.create_task(gateway.memory.lookup(bytes([number]), 0.0)) for number in range(3)]
        gateway.memory.expect(KEY, "a", 0.0)
        await until(lambda: store.under_way == 2)
        gateway.memory.expect(b"other", "a", 0.0)
        while connector.store is not None:
            connector.failed(store, RedisError("timeout"))
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*lookups) == [None] * 3
        await until(lambda: store.closed == 1)
        assert gateway.failures("lookup", "connection") == 3
        assert (gateway.failures("write", "connection"), gateway.failures("write", "away")) == (1, 1)
        store.open.set()


async def test_one_that_does_not_last_is_tried_less_and_less_often() -> None:
    store = Scripted()
    slept_s: list[float] = []

    async def connect() -> Scripted:
        return store

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)

    def lost_again() -> bool:
        connector.failed(store, RedisError("timeout"))
        return len(slept_s) >= 5

    store.open.set()
    connector = Connector(connect, 30.0, MemoryLog("redis://scripted", CollectorRegistry()), sleep)
    running = asyncio.create_task(connector.run())
    await until(lost_again)
    running.cancel()
    assert slept_s[:5] == [0.25, 0.5, 1.0, 2.0, 4.0]


async def test_a_change_that_cannot_be_encoded_does_not_stop_those_that_follow(log_lines: LogLines) -> None:
    store = Scripted()
    async with opened(store) as gateway:
        gateway.memory.remember(KEY, Warm("a", 300.0, 2**70), 4, 0.0)
        await gateway.memory.written()
        assert gateway.failures("write", "error") == 1
        assert any("please report" in line for line in log_lines())
        gateway.memory.expect(KEY, "a", 0.0)
        await gateway.memory.written()
        assert len(store.writes) == 1
