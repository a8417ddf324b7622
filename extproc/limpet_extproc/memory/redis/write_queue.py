"""Changes on their way to Redis: told without waiting, written at once by a task, seen by lookups from then on."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from limpet_extproc.memory.redis.connector import Connector
from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import MemoryChange, ShortNames, encode, redis_key

log = logging.getLogger(__name__)

_AT_ONCE: Final = 256
"""Conversations in one round trip."""

MAX_UNWRITTEN: Final = 10_000
"""Changes; about a megabyte. More come only when Redis hangs, and then for a second at most."""


class WriteResult(NamedTuple):
    """A conversation after a write."""

    value: bytes | RedisError | None
    """In Redis, as `decode` reads it; or why nothing was written."""
    unwritten: Sequence[MemoryChange]
    """What was told since."""


class WriteQueue:
    """Takes changes in order and writes them over a connector; those that can't be written are counted and dropped."""

    def __init__(self, connector: Connector, names: ShortNames, memory_log: MemoryLog) -> None:
        self._connector = connector
        self._names = names
        self._log = memory_log
        self._of: dict[bytes, list[MemoryChange]] = {}
        self._asked: dict[bytes, list[asyncio.Future[WriteResult]]] = {}
        self._count = 0
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        memory_log.unwritten.set_function(lambda: self._count)

    def add(self, key: bytes, change: MemoryChange) -> None:
        """To be written as soon as possible."""
        if self._connector.store is None:
            self._log.count("write", "away")
            return
        if self._count >= MAX_UNWRITTEN:
            self._log.count("write", "queue_full")
            return
        self._of.setdefault(key, []).append(change)
        self._count += 1
        self._none.clear()
        self._some.set()

    def answer(self, key: bytes) -> asyncio.Future[WriteResult] | None:
        """For a lookup of what is being written: what the write under way, or the next one, will have left.

        None if nothing is to be written of this conversation.
        """
        if key not in self._of:
            return None
        answer: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(answer)
        return answer

    async def written(self) -> None:
        """Wait until nothing is left to write."""
        await self._none.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            await self._write()
            if not self._of:
                self._some.clear()
                self._none.set()

    async def _write(self) -> None:
        batch = [(key, tuple(changes)) for key, changes in islice(self._of.items(), _AT_ONCE)]
        results = await self._attempt(batch)
        failed: RedisError | None = None
        for (key, changes), result in zip(batch, results, strict=True):
            self._count -= len(changes)
            del self._of[key][: len(changes)]
            self._tell(key, WriteResult(result, tuple(self._of[key])))
            if not self._of[key]:
                del self._of[key]
            if isinstance(result, RedisError):
                failed = result
                self._log.count("write", result.reason, len(changes))
        if self._connector.store is not None:
            self._log.written(failed)

    def _tell(self, key: bytes, answer: WriteResult) -> None:
        for asked in self._asked.pop(key, ()):
            if not asked.done():
                asked.set_result(answer)

    async def _attempt(
        self, batch: Sequence[tuple[bytes, Sequence[MemoryChange]]]
    ) -> Sequence[bytes | RedisError | None]:
        store = self._connector.store
        if store is None:
            return [RedisError("away")] * len(batch)
        try:
            writes = [(redis_key(key), [encode(change, self._names) for change in changes]) for key, changes in batch]
            return await store.write(writes)
        except RedisError as error:
            self._connector.failed(store, error)
            return [error] * len(batch)
        except Exception:
            # What no Redis could be told must not end the telling of all that follows.
            log.exception("changes of the memory were lost; please report this")
            return [RedisError("error")] * len(batch)
