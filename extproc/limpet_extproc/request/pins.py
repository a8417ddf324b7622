"""Which provider has what a request goes on from or asks for by its id, and whether that is the client's own."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
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
        return (await self.find_all(owner, (object_id,), patiently=patiently))[object_id]

    async def find_all(self, owner: str, ids: Iterable[str], *, patiently: bool) -> dict[str, Found]:
        """The same of many, which are looked up and waited for together. What is found is kept for longer."""
        keys = {object_id: identity.object_key(self._secret, object_id) for object_id in ids}
        places = await self._places(keys)
        for wait_s in WAITS_S if patiently else ():
            unknown = {object_id: keys[object_id] for object_id, place in places.items() if place is None}
            if not unknown or any(place is not None and place.owner != owner for place in places.values()):
                break
            await asyncio.sleep(wait_s)
            places |= await self._places(unknown)
        found: dict[str, Found] = {}
        for object_id, place in places.items():
            if place is not None and place.owner == owner:
                self._objects.note_place(keys[object_id], place, self._clock())
                found[object_id] = Found(place.provider)
            else:
                found[object_id] = Found(strangers=place is not None)
        return found

    async def _places(self, keys: Mapping[str, bytes]) -> dict[str, ObjectPlace | None]:
        now_s = self._clock()
        if len(keys) == 1:  # nearly all
            ((object_id, key),) = keys.items()
            return {object_id: await self._objects.place(key, now_s)}
        places = await asyncio.gather(*(self._objects.place(key, now_s) for key in keys.values()))
        return dict(zip(keys, places, strict=True))

    def note(self, owner: str, object_id: str, provider: str) -> None:
        """An answer has made it."""
        key = identity.object_key(self._secret, object_id)
        self._objects.note_place(key, ObjectPlace(provider, owner), self._clock())
