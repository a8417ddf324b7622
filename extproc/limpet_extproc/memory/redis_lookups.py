"""Lookups with a deadline: those of the same moment share a round trip, and nobody waits longer than the deadline.

A read that is late is not broken off: its connection stays good for the next ones.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from limpet_extproc.memory.redis_link import Link
from limpet_extproc.memory.redis_store import Store
from limpet_extproc.memory.redis_trouble import Trouble

_AT_ONCE: Final = 4
"""Reads under way; what comes while they all are joins the next."""

_Wanted = asyncio.Future[bytes | Trouble | None]


class Lookups:
    """Reads keys over a link, each within `deadline_s`."""

    def __init__(self, link: Link, deadline_s: float) -> None:
        self._link = link
        self._deadline_s = deadline_s
        self._waiting: list[tuple[bytes, _Wanted]] = []
        self._starting = False
        self._reading: set[asyncio.Task[None]] = set()

    async def value(self, key: bytes) -> bytes | None:
        """What stands there. Raises `Trouble`."""
        store = self._link.store
        if store is None:
            raise Trouble("away")
        loop = asyncio.get_running_loop()
        wanted: _Wanted = loop.create_future()
        self._waiting.append((key, wanted))
        self._start()
        deadline = loop.call_later(self._deadline_s, self._give_up, wanted, store)
        try:
            value = await wanted
        finally:
            deadline.cancel()
        if isinstance(value, Trouble):
            raise value
        return value

    def _give_up(self, wanted: _Wanted, store: Store) -> None:
        if not wanted.done():
            trouble = Trouble("timeout")
            wanted.set_result(trouble)
            self._link.failed(store, trouble)

    def _start(self) -> None:
        if self._waiting and not self._starting and len(self._reading) < _AT_ONCE:
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
        store = self._link.store
        if store is None:
            _tell(waiting, [Trouble("away")] * len(waiting))
            return
        try:
            values = await store.read([key for key, _ in waiting])
        except Trouble as trouble:
            if _tell(waiting, [trouble] * len(waiting)):
                self._link.failed(store, trouble)
            return
        if _tell(waiting, values):
            self._link.worked(store)

    async def close(self) -> None:
        """Break off what is under way."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)


def _tell(waiting: Sequence[tuple[bytes, _Wanted]], values: Sequence[bytes | Trouble | None]) -> bool:
    """Hand out what came; whether anybody still waited."""
    still = [(wanted, value) for (_, wanted), value in zip(waiting, values, strict=True) if not wanted.done()]
    for wanted, value in still:
        wanted.set_result(value)
    return bool(still)
