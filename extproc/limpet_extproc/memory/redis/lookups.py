"""Lookups with a deadline: those of the same moment share a round trip, and nobody waits longer than the deadline.

A read that is late is not broken off: its connection stays good for the next ones. The deadline is Redis's: where the
loop itself was held up by other requests, the time is given once more.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeVar

from limpet_extproc.memory.redis.connector import Connector
from limpet_extproc.memory.redis.errors import RedisError
from limpet_extproc.memory.redis.store import READS_AT_ONCE

_TURNS: Final = 4
"""Of the loop, in which an answer that has arrived goes from the socket to who waits for it."""

_Result = TypeVar("_Result")
_Wanted = asyncio.Future[bytes | RedisError | None]


class Lookups:
    """Reads keys over a connector, each within `deadline_s`."""

    def __init__(self, connector: Connector, deadline_s: float) -> None:
        self._connector = connector
        self._deadline_s = deadline_s
        self._waiting: list[tuple[bytes, _Wanted]] = []
        self._starting = False
        self._reading: set[asyncio.Task[None]] = set()

    async def value(self, key: bytes) -> bytes | None:
        """What stands there. Raises `RedisError`."""
        if self._connector.store is None:
            raise RedisError("away")
        wanted: _Wanted = asyncio.get_running_loop().create_future()
        self._waiting.append((key, wanted))
        self._start()
        value = await self.in_time(wanted)
        if isinstance(value, RedisError):
            raise value
        return value

    async def in_time(self, wanted: "asyncio.Future[_Result]") -> _Result:
        """What comes of it by the deadline. Raises `RedisError`."""
        store, loop = self._connector.store, asyncio.get_running_loop()
        due_s = loop.time() + self._deadline_s
        deadline = loop.call_at(due_s, _due, wanted, due_s, self._deadline_s)
        try:
            return await wanted
        except _LateError:
            error = RedisError("timeout")
            if store is not None:
                self._connector.failed(store, error)
            raise error from None
        finally:
            deadline.cancel()

    def _start(self) -> None:
        # What comes while so many are under way joins the next.
        if self._waiting and not self._starting and len(self._reading) < READS_AT_ONCE:
            self._starting = True
            task = asyncio.get_running_loop().create_task(self._read())
            self._reading.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        self._start()

    async def _read(self) -> None:
        self._starting = False
        waiting, self._waiting = self._waiting, []
        store = self._connector.store
        if store is None:
            _tell(waiting, [RedisError("away")] * len(waiting))
            return
        try:
            values = await store.read([key for key, _ in waiting])
        except RedisError as error:
            if _tell(waiting, [error] * len(waiting)):
                self._connector.failed(store, error)
            return
        if _tell(waiting, values):
            self._connector.worked(store)

    async def close(self) -> None:
        """Break off what is under way."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)


class _LateError(Exception):
    """The deadline has passed."""


def _due(wanted: "asyncio.Future[_Result]", due_s: float, again_s: float) -> None:
    """Its time is up, or is begun anew if this comes so late that the question may not even have been sent."""
    loop = wanted.get_loop()
    if loop.time() - due_s > again_s / 2:
        loop.call_later(again_s, _give_up, wanted, _TURNS)
    else:
        _give_up(wanted, _TURNS)


def _give_up(wanted: "asyncio.Future[_Result]", turns: int) -> None:
    if wanted.done():
        return
    if turns:
        # Timers go before sockets, so a busy loop would find late what has arrived.
        wanted.get_loop().call_soon(_give_up, wanted, turns - 1)
    else:
        wanted.set_exception(_LateError)


def _tell(waiting: Sequence[tuple[bytes, _Wanted]], values: Sequence[bytes | RedisError | None]) -> bool:
    """Hand out what came; whether anybody still waited."""
    still = [(wanted, value) for (_, wanted), value in zip(waiting, values, strict=True) if not wanted.done()]
    for wanted, value in still:
        wanted.set_result(value)
    return bool(still)
