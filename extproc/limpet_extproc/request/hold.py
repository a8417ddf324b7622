"""Where a policy wants it, first turns wait for the one that brings their head to a cache.

Before the answer to that one begins no cache has the head, and all of them would pay for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from limpet_extproc.memory.heads import HeadMemory, Heads

POLL_S: Final = 0.05

Sleep = Callable[[float], Awaitable[None]]


async def when_begun(
    memory: HeadMemory, hashes: Sequence[bytes], found: Heads, most_s: float, clock: Callable[[], float], sleep: Sleep
) -> Heads:
    """Where these heads are once none of them is only on its way, or after `most_s`; `found` is where they are now."""
    end_s = clock() + most_s
    while _is_awaited(found) and (left_s := end_s - clock()) > 0:
        await sleep(min(POLL_S, left_s))
        found = await memory.lookup(hashes, clock())
    return found


def _is_awaited(heads: Heads) -> bool:
    """Whether one is on its way and warm nowhere yet."""
    return any(all(place.pending_s for place in places) for places in heads.values())
