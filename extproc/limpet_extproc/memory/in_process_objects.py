"""The places of objects in one process: a bounded table that drops the longest unused."""

from collections import OrderedDict

from limpet_extproc.memory.objects import KEPT_S, ObjectPlace


class InProcessObjects:
    """An `ObjectMemory` in this process, about 400 bytes an object."""

    def __init__(self, max_objects: int = 50_000) -> None:
        self._max = max_objects
        self._places: OrderedDict[bytes, tuple[ObjectPlace, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    async def place(self, key: bytes, now_s: float) -> ObjectPlace | None:
        """See `ObjectMemory`."""
        found = self._places.get(key)
        if found is None:
            return None
        place, until_s = found
        if until_s <= now_s:
            del self._places[key]
            return None
        self._places.move_to_end(key)
        return place

    def note_place(self, key: bytes, place: ObjectPlace, now_s: float) -> None:
        """See `ObjectMemory`."""
        before = self._places.get(key)
        if before is not None and before[1] > now_s and before[0].owner != place.owner:
            return
        self._places[key] = place, now_s + KEPT_S
        self._places.move_to_end(key)
        if len(self._places) > self._max:
            self._places.popitem(last=False)
