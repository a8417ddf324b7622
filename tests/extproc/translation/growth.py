"""How the work grows with what there is to do."""

import time
from collections.abc import Callable


def growth(work: Callable[[int], object], size: int) -> float:
    """How many times as much of the processor four times the size takes: 4 if it is linear, 16 if it is quadratic.

    The least of several runs each, as a machine that does other work besides makes any of them longer.
    """
    return _least(work, 4 * size) / _least(work, size)


def _least(work: Callable[[int], object], size: int) -> float:
    return min(_spent(work, size) for _ in range(3))


def _spent(work: Callable[[int], object], size: int) -> float:
    before = time.process_time()
    work(size)
    return time.process_time() - before
