"""Which providers of a model a conversation draws first: those with the highest numbers of weighted rendezvous.

A number depends on nothing but the conversation and the provider, so it stays the same from turn to turn while prices
and health change. With many providers the first few of its order are kept, as drawing hundreds of numbers takes longer
than all else of a decision. Nothing depends on whether they are known but that time.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from xxhash import xxh3_64_intdigest

from limpet_extproc.decision.pool import LaneTable

KEPT: Final = 32
"""Of an order: places in the lane."""

MOST_KNOWN: Final = 20_000
"""Orders, of about 400 bytes each; those that were not used for the longest time are dropped."""


class Draws:
    """Those of a worker."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int = MOST_KNOWN) -> None:
        """`most`: how many orders are kept."""
        self._most = most
        self._known: OrderedDict[bytes, tuple[bytes, array[int]]] = OrderedDict()
        """By seed: the digest of the candidates' names, as these outlive a catalog and its prices, and the places."""

    def __len__(self) -> int:
        return len(self._known)

    def first_places(self, lane: LaneTable, seed: bytes) -> Sequence[int]:
        """Where the candidates with the highest numbers stand in the lane, the highest first; `KEPT` at most."""
        known = self._known.get(seed)
        if known is not None and known[0] == lane.names_digest:
            self._known.move_to_end(seed)
            return known[1]
        found = _first_places(lane, seed)
        if self._most:
            self._known[seed] = lane.names_digest, found
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return found


NO_DRAWS: Final = Draws(0)
"""Keeps none."""


def _first_places(lane: LaneTable, seed: bytes) -> "array[int]":
    drawn = list(map(xxh3_64_intdigest, map(seed.__add__, lane.seeds)))
    return array("I", sorted(range(len(drawn)), key=drawn.__getitem__, reverse=True)[:KEPT])
