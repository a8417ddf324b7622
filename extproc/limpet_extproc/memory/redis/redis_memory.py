"""Memory that all workers of an installation share: Redis, asked once a request and told afterwards.

A lookup is one round trip with a deadline; what is not there by then is not waited for. Changes are queued and written
at once by a task; a lookup of what is just being written gets it from the write. While Redis is away nobody asks it.
Nothing here ever fails a request.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from limpet_extproc.memory import Remembered, Warm
from limpet_extproc.memory.redis.address import parse
from limpet_extproc.memory.redis.connector import Connector
from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import (
    NOTHING,
    Clear,
    Expect,
    Forget,
    MemoryChange,
    Remember,
    ShortNames,
    all_changed,
    decode,
    is_over,
    redis_key,
)
from limpet_extproc.memory.redis.lookups import Lookups
from limpet_extproc.memory.redis.store import RedisStore, open_store
from limpet_extproc.memory.redis.write_queue import WriteQueue

DEADLINE_S: Final = 0.005
"""What a lookup may take before the request goes on without it."""

_START_S: Final = 2.0
"""Longer than one connection may take: then the log says what is wrong with it."""
_CLOSE_S: Final = 1.0


def open_memory(
    url: str,
    *,
    providers: Callable[[], Collection[str]],
    registry: CollectorRegistry,
    credentials: Path | None = None,
    deadline_s: float = DEADLINE_S,
) -> "RedisMemory":
    """The memory at this URL (`address.parse`); no I/O before `start`. Raises `address.BadAddress`.

    `providers` gives the names of the catalog in force, the same object as long as they are the same. `credentials` is
    a directory with the files `username`, `password`, `ca.crt`, `sentinel-username` and `sentinel-password`, those
    there are; they are read anew for new connections.
    """
    address = parse(url)
    memory_log = MemoryLog(str(address), registry)
    return RedisMemory(lambda: open_store(address, credentials), ShortNames(providers), memory_log, deadline_s)


class RedisMemory:
    """A `Memory` in Redis. `start` it in the loop that looks up, and `close` it there."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[RedisStore]],
        names: ShortNames,
        memory_log: MemoryLog,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._names = names
        self._log = memory_log
        self._connector = Connector(connect, deadline_s, memory_log)
        self._lookups = Lookups(self._connector, deadline_s)
        self._changes = WriteQueue(self._connector, names, memory_log)
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect; when that takes long, go on without and connect in the background."""
        self._running = [asyncio.create_task(self._connector.run()), asyncio.create_task(self._changes.run())]
        try:
            async with asyncio.timeout(_START_S):
                await self._connector.tried.wait()
        except TimeoutError:
            self._log.away(RedisError("timeout"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Started, and closed at the end of the block."""
        await self.start()
        try:
            yield
        finally:
            await self.close()

    async def written(self) -> None:
        """Wait until all that was told has been written, or given up."""
        await self._changes.written()

    async def close(self) -> None:
        """Write what is left, as far as that goes within a second, and disconnect."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.written()
        except TimeoutError:
            pass
        await self._lookups.close()
        while left := [task for task in self._running if not task.done()]:
            # More than once: before Python 3.12 asyncio.wait_for, which the client uses, can lose a cancellation.
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_CLOSE_S)

    async def lookup(self, key: bytes, now_s: float) -> Remembered | None:
        """See `Memory`."""
        try:
            value, unwritten = await self._value(key)
        except RedisError as error:
            self._log.count("lookup", error.reason)
            return None
        state = NOTHING if value is None else decode(value, self._names)
        if state is None:
            self._log.count("lookup", "version")
            state = NOTHING
        state = all_changed(state, unwritten)
        if state == NOTHING:
            return None
        if is_over(state, now_s):
            self._changes.add(key, Clear(now_s))
            return Remembered(state.warm) if state.warm else None
        return Remembered(state.warm, state.pending)

    async def _value(self, key: bytes) -> tuple[bytes | None, Sequence[MemoryChange]]:
        """What stands in Redis, and what is told and not yet there. Raises `RedisError`."""
        coming = self._changes.answer(key)
        if coming is not None:
            answer = await self._lookups.in_time(coming)
            if not isinstance(answer.value, RedisError):
                return answer.value, answer.unwritten
        return await self._lookups.value(redis_key(key)), ()

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """See `Memory`."""
        self._changes.add(key, Expect(provider, now_s))

    def remember(self, key: bytes, warm: Warm, max_providers: int, now_s: float) -> None:
        """See `Memory`."""
        self._changes.add(key, Remember(warm, max_providers, now_s))

    def forget(self, key: bytes, provider: str) -> None:
        """See `Memory`."""
        self._changes.add(key, Forget(provider))
