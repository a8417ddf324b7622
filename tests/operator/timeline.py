"""Time that a test owns: clocks and a sleep to pass in."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count


class Timeline:
    """Both clocks and all sleeps, moved on by the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self.slept = 0
        """How often a sleep has begun."""

    def clock(self) -> float:
        return self.now_s

    def now(self) -> datetime:
        return datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=self.now_s - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, next(self._numbers), waking))
        await waking

    async def advance(self, seconds: float) -> None:
        """Let so much time pass; each sleeper wakes at its moment and has run before time goes on."""
        end_s = self.now_s + seconds
        await settled()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self.now_s, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)
            await settled()
        self.now_s = end_s

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let time pass, five minutes at most, until something holds."""
        end_s = self.now_s + 300.0
        await settled()
        while not holds():
            assert self.now_s < end_s, "it never came to that"
            await self.advance(0.25)


async def settled() -> None:
    """Run everything that needs no time to pass."""
    for _ in range(50):
        await asyncio.sleep(0)
