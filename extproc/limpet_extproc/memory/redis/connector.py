"""Whether Redis is there: failures in a row end the asking, and a task in the background tries until it answers again.

So a Redis that is away costs the requests of a moment the deadline, and the others nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from limpet_extproc.memory.redis.errors import MemoryLog, RedisError
from limpet_extproc.memory.redis.layout import PREFIX
from limpet_extproc.memory.redis.store import READS_AT_ONCE, RedisStore

FAILURES_TO_AWAY: Final = 3
AWAY_AFTER_S: Final = 0.05
"""Failures go on for so long at least: at a thousand requests a second three are nothing, and writes would be lost."""
_OPEN_S: Final = 5.0
"""Longer than one connection may take: sentinels are asked in turn."""
_TRY_AFTER_S: Final = 0.25
_MAX_TRY_AFTER_S: Final = 4.0
_STEADY_S: Final = 10.0
"""One that worked for less is tried again less and less often."""
_TRIAL: Final = PREFIX + b"trial"


class Connector:
    """The store while it works. `connect` opens a new one, `deadline_s` is what a lookup may take."""

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
        """None while Redis is away, or not yet there."""

    def worked(self, store: RedisStore) -> None:
        """An answer came in time."""
        if store is self.store:
            self._failures = 0

    def failed(self, store: RedisStore, error: RedisError) -> None:
        """No answer came, or not in time. What a store says that has been given up counts no more."""
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

    async def run(self) -> None:
        """Open, wait until it is lost, open again; until cancelled, and then close."""
        now_s = asyncio.get_running_loop().time
        wait_s = _TRY_AFTER_S
        while True:
            try:
                store = await self._open()
            except RedisError as error:
                self._log.away(error)
                self.tried.set()
            else:
                began_s = now_s()
                await self._serve(store)
                if now_s() - began_s >= _STEADY_S:
                    wait_s = _TRY_AFTER_S
            await self._sleep(wait_s)
            wait_s = min(wait_s * 2, _MAX_TRY_AFTER_S)

    async def _open(self) -> RedisStore:
        """A store that has just answered, and in time, and has every connection that it will need.

        One opened later, amid requests, takes as long as a slow name server, and what it was to write would be lost.
        """
        store = await self._connect()
        try:
            async with asyncio.timeout(_OPEN_S):
                await store.read([_TRIAL])  # alone, for what is wrong with one is wrong with all
                await asyncio.gather(*(store.read([_TRIAL]) for _ in range(READS_AT_ONCE + 1)))
            async with asyncio.timeout(self._deadline_s):
                await store.read([_TRIAL])
        except BaseException as error:
            await store.close()
            if isinstance(error, TimeoutError):
                raise RedisError("timeout") from None
            raise
        return store

    async def _serve(self, store: RedisStore) -> None:
        self._failures = 0
        self._lost.clear()
        self.store = store
        self._log.back()
        self.tried.set()
        try:
            await self._lost.wait()
        finally:
            self.store = None
            await store.close()
