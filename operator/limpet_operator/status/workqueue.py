"""A queue of keys to process, as in client-go: a key waits in it once and is processed once at a time."""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class WorkQueue(Generic[KeyT]):
    """Keys in the order in which they were added. All methods belong to one event loop.

    A key that is added while it is being processed is queued again when that is done, so no addition is lost.
    """

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]) -> None:
        """`clock` is monotonic; seconds, as in `sleep`."""
        self._clock = clock
        self._sleep = sleep
        self._ready: deque[KeyT] = deque()
        self._dirty: set[KeyT] = set()
        """Added since they were last handed out: in `_ready`, or waiting for `done`."""
        self._processing: set[KeyT] = set()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._due: dict[KeyT, float] = {}
        """When each delayed key is added."""
        self._delayed: list[tuple[float, int, KeyT]] = []
        """A heap of the same; an entry whose time is not that in `_due` is obsolete."""
        self._numbers = count()
        self._timer: asyncio.Task[None] | None = None
        self._timer_due_s = math.inf
        self._shut_down = False

    def add(self, key: KeyT) -> None:
        """Have the key processed once more from now on."""
        if key in self._dirty or self._shut_down:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)
            self._wake_one()

    def add_after(self, key: KeyT, delay_s: float) -> None:
        """Add the key after a delay; of several delays of one key the earliest end counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due_s = self._clock() + delay_s
        if due_s >= self._due.get(key, math.inf) or self._shut_down:
            return
        self._due[key] = due_s
        heapq.heappush(self._delayed, (due_s, next(self._numbers), key))
        self._set_timer()

    async def get(self) -> KeyT | None:
        """Wait for the next key, and call `done` once it is processed; None: the queue was shut down."""
        while not self._ready and not self._shut_down:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake_one()  # It was woken for a key that another getter can take.
                raise
        if self._shut_down:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: KeyT) -> None:
        """The key was processed; it is queued again if it was added in between."""
        self._processing.discard(key)
        if key in self._dirty and not self._shut_down:
            self._ready.append(key)
            self._wake_one()

    def cancel_delayed(self) -> None:
        """Forget all delayed keys."""
        self._due.clear()
        self._delayed.clear()
        self._set_timer()

    def shut_down(self) -> None:
        """Hand out nothing more; what is being processed is not affected."""
        self._shut_down = True
        self.cancel_delayed()
        while self._getters:
            self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _set_timer(self) -> None:
        due_s = self._delayed[0][0] if self._delayed else math.inf
        if due_s == self._timer_due_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = due_s
        self._timer = None if due_s == math.inf else asyncio.create_task(self._add_delayed(due_s), name="delayed keys")

    async def _add_delayed(self, due_s: float) -> None:
        while True:
            await self._sleep(due_s - self._clock())
            while self._delayed and self._delayed[0][0] <= self._clock():
                entry_s, _, key = heapq.heappop(self._delayed)
                if self._due.get(key) == entry_s:
                    del self._due[key]
                    self.add(key)
            if not self._delayed:
                self._timer, self._timer_due_s = None, math.inf
                return
            self._timer_due_s = due_s = self._delayed[0][0]
