"""Work that comes in batches and that nobody waits for, done so that it holds up nobody who does."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

_Batched = TypeVar("_Batched")


async def in_turns(
    parts: Iterable[_Batched],
    do: Callable[[_Batched], None],
    in_a_row: int,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0),
) -> None:
    """Do all parts, and let whatever else waits for the loop come first after every `in_a_row` of them.

    After `within_s` all that is left is done in a row: a busy loop has much to do in each of its turns, and would fall
    behind with batches that keep coming. A task that is cancelled meanwhile does the rest of the batch and ends then.
    """
    cancelled: asyncio.CancelledError | None = None
    until_s = clock() + within_s
    for number, part in enumerate(parts, 1):
        do(part)
        if cancelled is None and number % in_a_row == 0 and clock() < until_s:
            try:
                await pause()
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
