"""Keeps Redis connected: failures in a row end its use, and a background task reconnects until it answers again.

So a Redis that is away costs the requests of a moment their deadline, and later ones nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Never, TypeAlias

from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import PREFIX
from limpet_extproc.memory.redis.store import READS_AT_ONCE, RedisStore

FAILURES_TO_AWAY: Final = 3
AWAY_AFTER_S: Final = 0.05
"""Failures must go on for this long: at a thousand requests a second three are nothing, and writes would be lost."""
_OPEN_S: Final = 5.0
"""Longer than one connection may take: sentinels are asked in turn."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 4.0
_STEADY_S: Final = 10.0
"""Pauses grow after a connection that worked for less."""
_END_S: Final = 1.0
_TRIAL: Final = PREFIX + b"trial"

User: TypeAlias = Callable[[RedisStore], Coroutine[Any, Any, None]]
"""Uses a store until it is cancelled."""


class Connector:
    """Holds the store while it works. `connect` opens a new one, `deadline_s` is what a lookup may take."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[RedisStore]],
        deadline_s: float,
        memory_log: MemoryLog,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._sleep = sleep
        self._deadline_s = deadline_s
        self._log = memory_log
        self._failures = 0
        self._failing_since_s = 0.0
        self._lost = asyncio.Event()
        self.tried = asyncio.Event()
        """Set when the first attempt has ended, however."""
        self.store: RedisStore | None = None
        """None while Redis is away, or not connected yet."""

    def worked(self, store: RedisStore) -> None:
        """An answer came in time."""
        if store is self.store:
            self._failures = 0

    def failed(self, store: RedisStore, error: RedisError) -> None:
        """No answer came, or not in time. Failures of a store that has been given up no longer count."""
        if store is not self.store:
            return
        now_s = asyncio.get_running_loop().time()
        if not self._failures:
            self._failing_since_s = now_s
        self._failures += 1
        if self._failures >= FAILURES_TO_AWAY and now_s - self._failing_since_s >= AWAY_AFTER_S:
            self.store = None
            self._log.away(error)
            self._lost.set()

    async def run(self, *users: User) -> Never:
        """Open, let the users use it until it is lost, close, and open again; until cancelled."""
        now_s = asyncio.get_running_loop().time
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                store = await self._open()
            except RedisError as error:
                self._log.away(error)
                self.tried.set()
            else:
                began_s = now_s()
                await self._use(store, users)
                if now_s() - began_s >= _STEADY_S:
                    pause_s = _FIRST_PAUSE_S
            await self._sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _open(self) -> RedisStore:
        """A store that has just answered, and in time, and has every connection that it will need.

        One opened later, amid requests, takes as long as a slow name server, and what it was to write would be lost.
        """
        store = await self._connect()
        try:
            async with asyncio.timeout(_OPEN_S):
                await store.read([_TRIAL])  # alone, for what is wrong with one is wrong with all
                await _all(store.read([_TRIAL]) for _ in range(READS_AT_ONCE + 1))
            async with asyncio.timeout(self._deadline_s):
                await store.read([_TRIAL])
        except BaseException as error:
            await store.close()
            if isinstance(error, TimeoutError):
                raise RedisError("timeout") from None
            raise
        return store

    async def _use(self, store: RedisStore, users: Iterable[User]) -> None:
        self._failures = 0
        self._lost.clear()
        self.store = store
        tasks = [asyncio.create_task(user(store)) for user in users]
        self._log.back()
        self.tried.set()
        try:
            await self._lost.wait()
        finally:
            self.store = None
            # Before the store is closed, for what they have under way could open connections that stay.
            await end(tasks)
            await store.close()


async def _all(reads: Iterable[Coroutine[Any, Any, object]]) -> None:
    tasks = [asyncio.create_task(read) for read in reads]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(tasks)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these and wait until they have ended."""
    while running := [task for task in tasks if not task.done()]:
        # More than once: before Python 3.12 asyncio.wait_for, which the client uses, can lose a cancellation.
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_END_S)
