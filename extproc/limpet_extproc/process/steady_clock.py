"""The one clock of a worker: Unix time that no jump of the machine's clock reaches.

Health, memory and decisions compare times of one worker. A clock that is set, by NTP or by hand, must neither expire
nor prolong any of them. So the machine's clock is read once, and after that only what passes is counted; the workers
of one supervisor have that reading from it, so that one which is started again agrees with its siblings.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final


def _passing() -> Callable[[], float]:
    """Found out once, as the clock is read several times a request."""
    try:
        passed = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        passed()
    except (AttributeError, OSError):
        return time.monotonic
    return passed


passed_s: Final = _passing()
"""Seconds since the machine started. Sleep of the machine counts where the system can tell, as caches go cold."""


def clock_zero_s(wall: Callable[[], float] = time.time, passed: Callable[[], float] = passed_s) -> float:
    """The Unix time at which nothing had passed, as the machine's clock has it now."""
    return wall() - passed()


def steady_clock(zero_s: float, passed: Callable[[], float] = passed_s) -> Callable[[], float]:
    """Unix time: what has passed since that zero."""
    return lambda: zero_s + passed()
