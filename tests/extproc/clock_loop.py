"""An event loop whose time passes only where a test says so: what it proves absent is absent on a slow machine too."""

import asyncio
from collections.abc import Coroutine
from typing import Any

_TURNS = 5


class ClockLoop(asyncio.SelectorEventLoop):
    """A loop with a clock in the test's hands."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0

    def time(self) -> float:
        return self._now_s

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass, and whatever is due by then happen."""
        self._now_s += seconds
        for _ in range(_TURNS):
            await asyncio.sleep(0)


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a story on such a loop."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(story)


async def pass_time(seconds: float) -> None:
    """Let time pass on the running loop, which is a ClockLoop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    await loop.pass_time(seconds)
