"""What first turns know of each other: where the beginnings that they share are warm, or on their way."""

from collections.abc import Callable
from typing import TypeAlias

from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.warmth import coming_heads
from limpet_extproc.memory.heads import NO_HEADS, HeadMemory, Heads
from limpet_extproc.request.hold import HeadWaits, Sleep
from limpet_extproc.telemetry.hold_metrics import HeldEnd

Held: TypeAlias = Callable[[HeldEnd, float], None]
"""Told how each wait ended, and after how many seconds."""

_LEFT: HeldEnd = "client_left"


class SharedHeads:
    """The memory of heads, as far as it matters to a request."""

    def __init__(self, memory: HeadMemory, clock: Callable[[], float], sleep: Sleep, held: Held) -> None:
        self._memory = memory
        self._clock = clock
        self._held = held
        self._waits = HeadWaits(memory, clock, sleep)

    async def known(self, query: Query, now_s: float, *, waits: bool) -> Heads:
        """Where its heads are. `waits`: after a while, if the policy wants a first turn to wait for them."""
        hashes = [head.hash for head in query.chain.heads]
        if not hashes:
            return NO_HEADS
        lane = query.lane
        found = _shared(await self._memory.lookup(hashes, now_s), lane)
        if not found or not waits or not lane.policy.hold_first_s:
            return found
        coming = coming_heads(query, found)
        if not coming:
            return found
        begun = await self._begun(hashes[0], coming, lane.policy.hold_first_s)
        return {**{each: found[each] for each in found if each not in coming}, **_shared(begun, lane)}

    async def _begun(self, shortest: bytes, coming: Heads, most_s: float) -> Heads:
        began_s, end = self._clock(), _LEFT
        try:
            begun = await self._waits.begun(shortest, coming, most_s)
            end = _end_of(begun)
            return begun
        finally:
            self._held(end, self._clock() - began_s)

    def expect(self, query: Query, provider: str, heads: Heads, now_s: float) -> None:
        """A first turn is on its way there; `heads` is what was known of its own."""
        hashes = [head.hash for head in query.chain.heads]
        if not hashes or _divides(query.lane, provider):
            return
        if not all(any(place.provider == provider for place in heads.get(each, ())) for each in hashes):
            self._memory.expect(hashes, provider, now_s)


def _end_of(begun: Heads) -> HeldEnd:
    places = [place for each in begun.values() for place in each]
    if any(not place.pending_s for place in places):
        return "warm"
    return "gave_up" if places else "gone"


def _divides(lane: Lane, provider: str) -> bool:
    """Whether its cache is divided by conversation: by a key, or because each stays at a replica of its own."""
    candidate = lane.by_provider.get(provider)
    return candidate is not None and (candidate.cache_key or candidate.takes_affinity)


def _shared(heads: Heads, lane: Lane) -> Heads:
    """Without the places whose caches no other conversation reads."""
    if not heads or not (lane.adds_keys or lane.takes_affinity):
        return heads
    left = {
        each: tuple(place for place in places if not _divides(lane, place.provider)) for each, places in heads.items()
    }
    return {each: places for each, places in left.items() if places}
