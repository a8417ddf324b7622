"""Which provider has what a request goes on from or asks for by its id, and whether that is the client's own."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from limpet_extproc.memory.objects import ObjectMemory, ObjectPlace
from limpet_extproc.request import identity

WAITS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3)
"""Until an id that is not known is asked for once more.

What an answer made is known a moment after the answer, from the access log, which any worker may get; a program that
goes on at once is quicker.
"""


class Found(NamedTuple):
    """What is known of an id; neither: nothing."""

    provider: str = ""
    strangers: bool = False
    """It is known, and not this client's."""


class Pins:
    """Looks ids up, and notes new ones. Ids and clients are kept as HMACs alone."""

    def __init__(self, objects: ObjectMemory, secret: bytes, clock: Callable[[], float]) -> None:
        self._objects = objects
        self._secret = secret
        self._clock = clock

    async def find(self, owner: str, object_id: str, *, patiently: bool) -> Found:
        """Where it is. `patiently`: as it has to be known. Raises PlacesUnknownError."""
        key = identity.object_key(self._secret, object_id)
        place = await self._objects.place(key, self._clock())
        for wait_s in WAITS_S if patiently else ():
            if place is not None:
                break
            await asyncio.sleep(wait_s)
            place = await self._objects.place(key, self._clock())
        if place is None:
            return Found()
        return Found(place.provider) if place.owner == owner else Found(strangers=True)

    def note(self, owner: str, object_id: str, provider: str) -> None:
        """An answer has made it."""
        key = identity.object_key(self._secret, object_id)
        self._objects.note_place(key, ObjectPlace(provider, owner), self._clock())
