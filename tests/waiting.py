"""Waiting for what other tasks and processes do: look again and again, and fail when it takes too long."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

TIMEOUT_S: Final = 180.0
"""Longer than anything takes on a loaded machine: only a broken program makes a test wait this long."""

_EVERY_S: Final = 0.01

Condition = Callable[[], object] | Callable[[], Awaitable[object]]


async def until(condition: Condition, what: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
    """Return once a function or coroutine function returns something true; AssertionError after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while not await _met(condition):
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain{what and f': {what}'}"
        await asyncio.sleep(_EVERY_S)


async def _met(condition: Condition) -> object:
    result = condition()
    return await result if inspect.isawaitable(result) else result


def eventually(condition: Callable[[], object], what: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
    """`until` for a test without a loop."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain{what and f': {what}'}"
        time.sleep(_EVERY_S)
