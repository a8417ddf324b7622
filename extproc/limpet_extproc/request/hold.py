"""Where a policy wants it, first turns wait for the one that brings their head to a cache.

Before the answer to that one begins no cache has the head, and all of them would pay for it. However many wait for the
same, the memory is asked once for all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from limpet_extproc.memory.heads import NO_HEADS, HeadMemory, Heads

POLL_S: Final = 0.05

Sleep = Callable[[float], Awaitable[None]]

_Coming: TypeAlias = tuple[bytes, tuple[bytes, ...], frozenset[str]]
"""The shortest head of a prompt, those that are waited for, and the providers that they are on their way to."""


class _Wait:
    """All requests that wait for the same."""

    def __init__(self) -> None:
        self.until_s: dict[asyncio.Future[Heads], float] = {}
        """Of each, when it goes on at the latest."""
        self.polling: asyncio.Task[None] | None = None


class HeadWaits:
    """The waits of a worker."""

    def __init__(self, memory: HeadMemory, clock: Callable[[], float], sleep: Sleep) -> None:
        self._memory = memory
        self._clock = clock
        self._sleep = sleep
        self._waits: dict[_Coming, _Wait] = {}

    async def begun(self, shortest: bytes, coming: Heads, most_s: float) -> Heads:
        """Where these heads are once none of them is only on its way, or after `most_s`.

        `coming` is where they are on their way, `shortest` the shortest head of the prompt.
        """
        providers = frozenset(place.provider for places in coming.values() for place in places)
        key = shortest, tuple(coming), providers
        wait = self._waits.get(key)
        if wait is None:
            wait = self._waits[key] = _Wait()
            wait.polling = asyncio.create_task(self._poll(key, wait))
        found: asyncio.Future[Heads] = asyncio.get_running_loop().create_future()
        wait.until_s[found] = self._clock() + most_s
        try:
            return await found
        finally:
            wait.until_s.pop(found, None)

    async def _poll(self, key: _Coming, wait: _Wait) -> None:
        shortest, hashes, providers = key
        asked = dict.fromkeys((shortest, *hashes))
        try:
            while wait.until_s:
                left_s = min(wait.until_s.values()) - self._clock()
                if left_s > 0:
                    await self._sleep(min(POLL_S, left_s))
                found = await self._memory.lookup(tuple(asked), self._clock())
                found = {each: found[each] for each in hashes if each in found}
                _go_on(wait, found, self._clock() if _is_coming(found, providers) else None)
        finally:
            del self._waits[key]
            _go_on(wait, NO_HEADS, None)


def _go_on(wait: _Wait, found: Heads, now_s: float | None) -> None:
    """Let those go on whose time is over by now; None: all."""
    over = [each for each, until_s in wait.until_s.items() if now_s is None or until_s <= now_s]
    for each in over:
        del wait.until_s[each]
        if not each.done():
            each.set_result(found)


def _is_coming(heads: Heads, providers: frozenset[str]) -> bool:
    """Whether one is on its way to these, and warm at none of them yet."""
    for places in heads.values():
        there = [place for place in places if place.provider in providers]
        if there and all(place.pending_s for place in there):
            return True
    return False
