"""Lookups with a deadline: those of the same moment share a round trip, and none waits longer than the deadline.

A read that is late is not broken off: its connection stays good for the next ones. The deadline is Redis's: if the
loop itself was held up by other requests, the time is given once more.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias, TypeVar

from limpet_extproc.memory.redis.connector import Connector
from limpet_extproc.memory.redis.errors import RedisError
from limpet_extproc.memory.redis.store import READS_AT_ONCE, RedisStore

_TURNS: Final = 4
"""Of the loop, in which an answer that has arrived goes from the socket to the lookup that waits for it."""

_Result = TypeVar("_Result")
_Reads: TypeAlias = Sequence[tuple[bytes, asyncio.Future[bytes | None]]]


class Lookups:
    """Reads keys from the store that is connected, each within `deadline_s`."""

    def __init__(self, connector: Connector, deadline_s: float) -> None:
        self._connector = connector
        self._deadline_s = deadline_s
        self._queue: asyncio.Queue[tuple[bytes, asyncio.Future[bytes | None]]] = asyncio.Queue()
        self._overdue: set[asyncio.Task[None]] = set()

    async def value(self, key: bytes) -> bytes | None:
        """The value of this key. Raises `RedisError`."""
        if self._connector.store is None:
            raise RedisError("away")
        value: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((key, value))
        return await self.in_time(value)

    async def in_time(self, result: "asyncio.Future[_Result]") -> _Result:
        """The result, if it comes by the deadline. Raises `RedisError`."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._deadline_s
        # A timer that only starts a task if it fires, as it hardly ever does.
        deadline = loop.call_at(due_s, self._on_deadline, result, due_s, self._connector.store)
        try:
            return await result
        finally:
            deadline.cancel()

    def _on_deadline(self, result: "asyncio.Future[_Result]", due_s: float, store: RedisStore | None) -> None:
        task = asyncio.get_running_loop().create_task(self._give_up(result, due_s, store))
        self._overdue.add(task)
        task.add_done_callback(self._overdue.discard)

    async def _give_up(self, result: "asyncio.Future[_Result]", due_s: float, store: RedisStore | None) -> None:
        if asyncio.get_running_loop().time() - due_s > self._deadline_s / 2:
            # The loop was held up for so long that the question may not even have been sent.
            await asyncio.sleep(self._deadline_s)
        for _ in range(_TURNS):
            # Timers go before sockets, so a busy loop would find late what has arrived.
            await asyncio.sleep(0)
        if not result.done():
            error = RedisError("timeout")
            if store is not None:
                self._connector.failed(store, error)
            result.set_exception(error)

    async def serve(self, store: RedisStore) -> None:
        """Read until cancelled, a few batches at a time."""
        try:
            async with asyncio.TaskGroup() as readers:
                for _ in range(READS_AT_ONCE):
                    readers.create_task(self._read(store))
        finally:
            _fail(self._take(), RedisError("away"))

    async def _read(self, store: RedisStore) -> None:
        while True:
            # What came while all readers were busy shares the next round trip.
            batch = [await self._queue.get(), *self._take()]
            try:
                values = await store.read([key for key, _ in batch])
            except RedisError as error:
                if _fail(batch, error):
                    self._connector.failed(store, error)
            except asyncio.CancelledError:
                _fail(batch, RedisError("connection", "given up"))
                raise
            else:
                if _answer(batch, values):
                    self._connector.worked(store)

    def _take(self) -> _Reads:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]


def _answer(batch: _Reads, values: Sequence[bytes | None]) -> bool:
    """Hand out the values; whether any lookup still waited."""
    waiting = [(future, value) for (_, future), value in zip(batch, values, strict=True) if not future.done()]
    for future, value in waiting:
        future.set_result(value)
    return bool(waiting)


def _fail(batch: _Reads, error: RedisError) -> bool:
    """End the lookups with an error; whether any still waited."""
    waiting = [future for _, future in batch if not future.done()]
    for future in waiting:
        future.set_exception(error)
    return bool(waiting)
