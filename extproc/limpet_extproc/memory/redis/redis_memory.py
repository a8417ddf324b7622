"""The memory that all workers of an installation share, in Redis: one read for a request, writes afterwards.

A lookup is one round trip with a deadline, after which the request goes on without it. Changes are queued and written
at once by a task; a lookup of a conversation that is just being written takes the result of the write. While Redis is
away it is not asked. Nothing here ever fails a request.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Never

from prometheus_client import CollectorRegistry

from limpet_extproc.memory import LastFailure, Remembered, ServedTurn, Warm, only_pace
from limpet_extproc.memory.objects import ObjectPlace, PlacesUnknownError
from limpet_extproc.memory.redis.address import parse
from limpet_extproc.memory.redis.changes import (
    NOTHING,
    Clear,
    Expect,
    Forget,
    MemoryChange,
    NoteFailure,
    NotePlace,
    Remember,
    Withdraw,
    all_changed,
    is_over,
)
from limpet_extproc.memory.redis.connector import Connector, end
from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import OBJECT, decode, decode_place, redis_key
from limpet_extproc.memory.redis.lookups import Lookups
from limpet_extproc.memory.redis.redis_heads import RedisHeads
from limpet_extproc.memory.redis.short_names import ShortNames
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
    """The memory at this URL (`address.parse`); no I/O before `start`. Raises `address.AddressError`.

    `providers` gives the names of the catalog in force, the same object as long as they are the same. `credentials` is
    a directory with the files `username`, `password`, `ca.crt`, `sentinel-username` and `sentinel-password`, each
    optional; they are read again for new connections.
    """
    address = parse(url)
    memory_log = MemoryLog(str(address), registry)
    return RedisMemory(lambda: open_store(address, credentials), ShortNames(providers), memory_log, deadline_s)


class RedisMemory:
    """A `Memory` and an `ObjectMemory` in Redis. `start` it in the loop that looks up, and `close` it there."""

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
        self._writes = WriteQueue(self._connector, names, memory_log)
        self.heads: Final = RedisHeads(self._value, self._writes.add, names, memory_log)
        self._running: asyncio.Task[Never] | None = None

    async def start(self) -> None:
        """Connect; when that takes long, go on without and connect in the background."""
        self._running = asyncio.create_task(self._connector.run(self._lookups.serve, self._writes.serve))
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
        """Wait until all changes have been written, or given up."""
        await self._writes.written()

    async def close(self) -> None:
        """Write what is left, as much as a second allows, and disconnect."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.written()
        except TimeoutError:
            pass
        if self._running is not None:
            await end([self._running])

    async def lookup(self, key: bytes, now_s: float, *, peek: bool = False) -> Remembered | None:
        """See `Memory`."""
        try:
            value, unwritten = await self._value(key)
        except RedisError as error:
            self._log.count("lookup", error.reason)
            return None
        conversation = NOTHING if value is None else decode(value, self._names)
        if conversation is None:
            self._log.count("lookup", "version")
            conversation = NOTHING
        conversation = all_changed(conversation, unwritten)
        if conversation == NOTHING:
            return None
        if is_over(conversation, now_s):
            if not peek:
                self._writes.add(key, Clear(now_s))
            return conversation.remembered() if conversation.warm else only_pace(conversation.remembered())
        return conversation.remembered()

    async def place(self, key: bytes, now_s: float) -> ObjectPlace | None:
        """See `ObjectMemory`."""
        try:
            value, unwritten = await self._value(OBJECT + key)
        except RedisError as error:
            self._log.count("lookup", error.reason)
            raise PlacesUnknownError(error.reason) from error
        if value is not None and (place := decode_place(value, self._names)) is not None:
            return place
        return next((change.place for change in unwritten if isinstance(change, NotePlace)), None)

    def note_place(self, key: bytes, place: ObjectPlace, now_s: float) -> None:
        """See `ObjectMemory`. Redis counts how long it is kept."""
        self._writes.add(OBJECT + key, NotePlace(place))

    async def _value(self, key: bytes) -> tuple[bytes | None, Sequence[MemoryChange]]:
        """The value in Redis, and the changes that are not written yet. Raises `RedisError`."""
        pending = self._writes.result(key)
        if pending is not None:
            result = await self._lookups.in_time(pending)
            if not isinstance(result.value, RedisError):
                return result.value, result.unwritten
        return await self._lookups.value(redis_key(key)), ()

    def expect(self, key: bytes, provider: str, now_s: float) -> None:
        """See `Memory`."""
        self._writes.add(key, Expect(provider, now_s))

    def remember(
        self, key: bytes, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None = None
    ) -> None:
        """See `Memory`."""
        self._writes.add(key, Remember(warm, max_providers, now_s, turn))

    def forget(self, key: bytes, provider: str) -> None:
        """See `Memory`."""
        self._writes.add(key, Forget(provider))

    def withdraw(self, key: bytes, provider: str) -> None:
        """See `Memory`."""
        self._writes.add(key, Withdraw(provider))

    def note_failure(self, key: bytes, failure: LastFailure) -> None:
        """See `Memory`."""
        self._writes.add(key, NoteFailure(failure))
