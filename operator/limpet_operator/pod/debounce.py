"""When to act on changes: a lone one at once, those of a burst soon after the last, and never long after the first."""

import asyncio
import math
from collections.abc import Callable


class Debounce:
    """Calls `act` once for a burst. Belongs to the running event loop."""

    def __init__(
        self, act: Callable[[], None], first_s: float = 0.005, quiet_s: float = 0.03, longest_s: float = 0.2
    ) -> None:
        """`quiet_s` without a trigger ends a burst; `longest_s` after its first one it is acted on anyway.

        The first trigger after such a silence is acted on after `first_s`: mostly no other follows.
        """
        self._act = act
        self._first_s = first_s
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._due: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._silent_from = -math.inf

    def trigger(self) -> None:
        """Something has changed."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._due is None:
            silent = now - self._silent_from > self._quiet_s
            self._deadline = now + (self._first_s if silent else self._longest_s)
        else:
            self._due.cancel()
        self._silent_from = now
        self._due = loop.call_at(min(now + self._quiet_s, self._deadline), self._fire)

    def close(self) -> None:
        """Forget triggers that were not acted on."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _fire(self) -> None:
        self._due = None
        self._act()
        # While acting, triggers could not come in, so the silence begins now.
        self._silent_from = asyncio.get_running_loop().time()
