"""When to act on changes that come in bursts: soon after the last one, and never long after the first."""

import asyncio
from collections.abc import Callable


class Debounce:
    """Calls `act` once for a burst. Belongs to the running event loop."""

    def __init__(self, act: Callable[[], None], quiet_s: float = 0.03, longest_s: float = 0.2) -> None:
        """`quiet_s` without news ends a burst; `longest_s` after its first news it is acted on anyway."""
        self._act = act
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._due: asyncio.TimerHandle | None = None
        self._deadline = 0.0

    def poke(self) -> None:
        """There is news."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._due is None:
            self._deadline = now + self._longest_s
        else:
            self._due.cancel()
        self._due = loop.call_at(min(now + self._quiet_s, self._deadline), self._fire)

    def close(self) -> None:
        """Forget what was not acted on."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _fire(self) -> None:
        self._due = None
        self._act()
