"""Changes on their way to Redis: added without waiting, written at once by a task, seen by lookups from then on."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from limpet_extproc.memory.redis.changes import MemoryChange, NotePlace
from limpet_extproc.memory.redis.connector import Connector
from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import encode, redis_key
from limpet_extproc.memory.redis.short_names import ShortNames
from limpet_extproc.memory.redis.store import RedisStore

_log = logging.getLogger(__name__)

_MAX_BATCH: Final = 256
"""Conversations in one round trip."""

MAX_UNWRITTEN: Final = 10_000
"""Changes; about a megabyte. More come only when Redis hangs, and then for a second at most."""

_Batch: TypeAlias = Sequence[tuple[bytes, Sequence[MemoryChange]]]
_Results: TypeAlias = Sequence[bytes | RedisError | None]


class WriteResult(NamedTuple):
    """A conversation after a write."""

    value: bytes | RedisError | None
    """In Redis, as `decode` reads it; or why nothing was written."""
    unwritten: Sequence[MemoryChange]
    """Added since."""


class WriteQueue:
    """Writes changes in their order to the store that is connected; drops and counts those that can't be written."""

    def __init__(self, connector: Connector, names: ShortNames, memory_log: MemoryLog) -> None:
        self._connector = connector
        self._names = names
        self._log = memory_log
        self._changes: dict[bytes, list[MemoryChange]] = {}
        self._lookups: dict[bytes, list[asyncio.Future[WriteResult]]] = {}
        """Those that wait for a write."""
        self._held: dict[bytes, NotePlace] = {}
        """Places of objects that could not be written: nobody else knows them, so they wait for the next connection."""
        self._count = 0
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        memory_log.unwritten.set_function(lambda: self._count)

    def add(self, key: bytes, change: MemoryChange) -> None:
        """Have this written as soon as possible."""
        if self._connector.store is None:
            if not self._holds(key, change):
                self._log.count("write", "away")
            return
        if self._count >= MAX_UNWRITTEN:
            self._log.count("write", "queue_full")
            return
        self._changes.setdefault(key, []).append(change)
        self._count += 1
        self._none.clear()
        self._some.set()

    def _holds(self, key: bytes, change: MemoryChange) -> bool:
        if not isinstance(change, NotePlace) or len(self._held) >= MAX_UNWRITTEN:
            return False
        self._held.setdefault(key, change)
        return True

    def result(self, key: bytes) -> asyncio.Future[WriteResult] | None:
        """For a lookup of a conversation with unwritten changes: the result of their write. None: it has none."""
        if key not in self._changes:
            return None
        result: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        self._lookups.setdefault(key, []).append(result)
        return result

    async def written(self) -> None:
        """Wait until nothing is left to write."""
        await self._none.wait()

    async def serve(self, store: RedisStore) -> None:
        """Write until cancelled; then drop what is left, but for objects."""
        held, self._held = self._held, {}
        for key, change in held.items():
            self.add(key, change)
        try:
            while True:
                await self._some.wait()
                await self._write(store, self._batch(_MAX_BATCH))
        finally:
            left = self._batch(len(self._changes))
            self._settle(left, [RedisError("away")] * len(left))

    def _batch(self, size: int) -> _Batch:
        return [(key, tuple(changes)) for key, changes in islice(self._changes.items(), size)]

    async def _write(self, store: RedisStore, batch: _Batch) -> None:
        try:
            results = await self._attempt(store, batch)
        except asyncio.CancelledError:
            self._settle(batch, [RedisError("connection", "given up")] * len(batch))
            raise
        self._settle(batch, results)

    async def _attempt(self, store: RedisStore, batch: _Batch) -> _Results:
        try:
            writes = [(redis_key(key), [encode(change, self._names) for change in changes]) for key, changes in batch]
            return await store.write(writes)
        except RedisError as error:
            self._connector.failed(store, error)
            return [error] * len(batch)
        except Exception:
            # A change that cannot be encoded must not stop the writes that follow.
            _log.exception("changes of the memory were lost; please report this")
            return [RedisError("error")] * len(batch)

    def _settle(self, batch: _Batch, results: _Results) -> None:
        failed: RedisError | None = None
        for (key, changes), result in zip(batch, results, strict=True):
            self._count -= len(changes)
            del self._changes[key][: len(changes)]
            self._answer(key, WriteResult(result, tuple(self._changes[key])))
            if not self._changes[key]:
                del self._changes[key]
            if isinstance(result, RedisError):
                failed = result
                lost = len(changes) - sum(self._holds(key, change) for change in changes)
                if lost:
                    self._log.count("write", result.reason, lost)
        if batch and self._connector.store is not None:
            self._log.written(failed)
        if not self._changes:
            self._some.clear()
            self._none.set()

    def _answer(self, key: bytes, result: WriteResult) -> None:
        for lookup in self._lookups.pop(key, ()):
            if not lookup.done():
                lookup.set_result(result)
