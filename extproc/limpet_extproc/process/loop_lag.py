"""How long a worker's event loop stands still: because it is busy, or because the process gets no processor."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

_EVERY_S: Final = 0.1
"""What stands still for less may pass between two looks."""


async def watch_loop(
    late: Callable[[float], None],
    clock: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Never return, and tell again and again by how many seconds the loop was late to wake us up."""
    while True:
        due_s = clock() + _EVERY_S
        await sleep(_EVERY_S)
        late(max(0.0, clock() - due_s))
