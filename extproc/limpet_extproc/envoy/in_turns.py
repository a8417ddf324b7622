"""Work that comes in batches and that nobody waits for, done so that it holds up nobody who does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

_Batched = TypeVar("_Batched")


async def in_turns(
    parts: Iterable[_Batched],
    do: Callable[[_Batched], None],
    in_a_row: int,
    pause: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0),
) -> None:
    """Do all parts, and let whatever else waits for the loop come first after every `in_a_row` of them.

    A task that is cancelled meanwhile does the rest at once and ends then, so no part is lost.
    """
    cancelled: asyncio.CancelledError | None = None
    for number, part in enumerate(parts, 1):
        do(part)
        if cancelled is None and number % in_a_row == 0:
            try:
                await pause()
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
