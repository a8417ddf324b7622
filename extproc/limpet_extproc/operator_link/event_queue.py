"""Events on their way to workers beside other Envoys: collected for a moment, and bounded while the stream is away."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from limpet_extproc.contract.health_stream import Observed
from limpet_extproc.providers.events import WorkerEvent

COLLECT_S: Final = 0.02
MAX_EVENTS: Final = 500
"""In one report, about 20 KB."""
MAX_WAITING: Final = 2000
FRESH_S: Final = 5.0
"""What waited longer is dropped: events take effect when they arrive, and these show a state of long ago."""

_ENCODER: Final = msgspec.json.Encoder()


def _ignore(_: int) -> None:
    """For a hook that is not set."""


class EventQueue:
    """What waits to be reported. `add` is for the path of a request; all belongs to one loop."""

    def __init__(
        self,
        dropped: Callable[[int], None] = _ignore,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`dropped` is called with the number of events that nobody will get."""
        self._dropped = dropped
        self._clock = clock
        self._sleep = sleep
        self._waiting: deque[tuple[float, WorkerEvent]] = deque()
        self._filled = asyncio.Event()

    def add(self, event: WorkerEvent) -> None:
        """Report this; the oldest one is dropped for it if too many wait."""
        if len(self._waiting) == MAX_WAITING:
            self._waiting.popleft()
            self._dropped(1)
        self._waiting.append((self._clock(), event))
        self._filled.set()

    async def next(self) -> tuple[Observed, int]:
        """The next report, and how many events it holds: all of COLLECT_S from the first one on, in their order."""
        while True:
            await self._filled.wait()
            await self._sleep(COLLECT_S)
            events = self._take()
            if events:
                return Observed(msgspec.Raw(_ENCODER.encode(events))), len(events)

    def _take(self) -> list[WorkerEvent]:
        fresh_s = self._clock() - FRESH_S
        stale = 0
        while self._waiting and self._waiting[0][0] < fresh_s:
            self._waiting.popleft()
            stale += 1
        if stale:
            self._dropped(stale)
        events = [self._waiting.popleft()[1] for _ in range(min(MAX_EVENTS, len(self._waiting)))]
        if not self._waiting:
            self._filled.clear()
        return events
