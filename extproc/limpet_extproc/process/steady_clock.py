"""The one clock of a worker: Unix time that no jump of the machine's clock reaches."""

import time
from collections.abc import Callable


def passed_s() -> float:
    """Seconds since some moment. Sleep of the machine counts where the system can tell: caches do not wait for it."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):
        return time.monotonic()


def steady_clock(wall: Callable[[], float] = time.time, passed: Callable[[], float] = passed_s) -> Callable[[], float]:
    """Unix time as the machine had it at this call, plus what has passed since.

    Health, memory and decisions compare times of one worker, and jumps of the wall clock, by NTP or by hand, must
    neither expire nor prolong any of them.
    """
    begin_s = wall() - passed()
    return lambda: begin_s + passed()
