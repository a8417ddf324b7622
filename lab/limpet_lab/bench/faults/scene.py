"""What a fault's steps work on: the bed, the provider that is the victim, and what they find out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from limpet_lab.bench.faults.bed import FaultBed
from limpet_lab.bench.faults.gateway import polled
from limpet_lab.sim.sellers import Seller

_LIMIT_S = 30.0


@dataclass(slots=True)
class Scene:
    """One fault on the bed."""

    bed: FaultBed
    victim: str
    notes: dict[str, float | str] = field(default_factory=dict)
    """What the steps found out, by name; seconds where the name ends in `_s`."""

    @property
    def seller(self) -> Seller:
        """The provider that is the victim."""
        return self.bed.sellers[self.victim]

    async def note_when(self, name: str, so: Callable[[], Awaitable[bool]]) -> None:
        """Note how many seconds pass until it is so; infinite if it is not so after half a minute."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(_LIMIT_S):
                await polled(so)
        except TimeoutError:
            self.notes[name] = float("inf")
        else:
            self.notes[name] = time.monotonic() - began


FaultStep = Callable[[Scene], Awaitable[None]]
"""Something that is done to the bed."""


async def nothing(_: Scene) -> None:
    """For a fault that needs no such step."""
