"""The candidates of a lane that a request may go to, by what they cost: reckoned for each kind, and not one by one.

Nearly all of what a request costs at a candidate depends on its prices and on what its cache is like, which many
candidates of a model have alike. Only what is warm and what was learned of errors and speed sets single ones apart.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from limpet_extproc.decision.snapshot import Candidate

FEW: Final = 16
"""So many candidates are reckoned and ranked one by one: that takes no longer."""

MOST_KINDS: Final = 0.5
"""Of as many candidates: with more of them there is little to save."""

_MOST_KNOWN: Final = 16
"""Pools of a lane without some of its candidates; the oldest is dropped."""


class PoolEntry(NamedTuple):
    """One candidate, or several that cost the same."""

    place: int
    """Of the first of them in the lane."""
    candidate: "Candidate"
    size: int
    kind: int
    """The number of their kind; -1: it is one that is reckoned by itself."""


class Pool:
    """Some candidates of a lane, in its order. Immutable."""

    __slots__ = ("_entries", "_names", "by_weight", "candidates", "kind_of", "lane", "members")

    def __init__(self, candidates: "tuple[Candidate, ...]", lane: "LaneTable") -> None:
        self.candidates = candidates
        self.lane = lane
        kinds, places = lane.kinds, lane.places
        self.kind_of = {each.provider: kinds[each.provider] for each in candidates}
        """Of those in it alone."""
        members: dict[int, list[Candidate]] = {}
        for each in candidates:
            members.setdefault(kinds[each.provider], []).append(each)
        self.members = {kind: tuple(alike) for kind, alike in members.items()}
        self._entries = [
            PoolEntry(places[alike[0].provider], alike[0], len(alike), kind) for kind, alike in self.members.items()
        ]
        self._names = {kind: sorted([each.provider for each in alike]) for kind, alike in self.members.items()}
        weighty = tuple([each for each in candidates if each.weight])
        parts = (weighty, tuple([each for each in candidates if not each.weight]))
        self.by_weight = tuple([Pool(part, lane) for part in parts]) if all(parts) else ()
        """Those with a weight and those without; empty where all of them are the one or the other."""

    def entries(self, apart: Collection[str] = ()) -> list[PoolEntry]:
        """All of it, in the order of the lane; those that are `apart` one by one.

        The first candidate of each kind is the first of an entry, so whatever is looked for among the candidates by
        their costs alone is found among these, and found at the same one if several are alike.
        """
        places, lane = self.lane.places, self.lane.candidates
        found: list[PoolEntry] = []
        fewer: dict[int, int] = {}
        for name in apart:
            kind = self.kind_of.get(name)
            if kind is not None:
                fewer[kind] = fewer.get(kind, 0) + 1
                found.append(PoolEntry(places[name], lane[places[name]], 1, -1))
        if not found:
            return self._entries
        for entry in self._entries:
            less = fewer.get(entry.kind, 0)
            if not less:
                found.append(entry)
            elif less < entry.size:
                first = next(each for each in self.members[entry.kind] if each.provider not in apart)
                found.append(PoolEntry(places[first.provider], first, entry.size - less, entry.kind))
        found.sort()
        return found

    def alike(self, entry: PoolEntry, apart: Collection[str]) -> "Iterator[tuple[int, Candidate]]":
        """The candidates of an entry with their places, in the order of the lane."""
        if entry.kind < 0:
            yield entry.place, entry.candidate
            return
        places = self.lane.places
        for each in self.members[entry.kind]:
            if each.provider not in apart:
                yield places[each.provider], each

    def first_names(self, entry: PoolEntry, apart: Collection[str], most: int) -> list[str]:
        """Of the candidates of an entry so many at most, in the order of their names."""
        if entry.kind < 0:
            return [entry.candidate.provider]
        return list(islice((name for name in self._names[entry.kind] if name not in apart), most))


class Pools:
    """Those of a lane, each made when it is first needed and then kept.

    Whether one is known changes no result. Who is out changes rarely, and mostly to and fro.
    """

    __slots__ = ("_candidates", "_few", "_known", "_lane", "_most_kinds")

    def __init__(self, candidates: "tuple[Candidate, ...]", few: int = FEW, most_kinds: float = MOST_KINDS) -> None:
        """`few`: up to so many candidates are no pool. `most_kinds`: nor are they of more kinds, by candidate."""
        self._candidates = candidates
        self._few = few
        self._most_kinds = most_kinds
        self._lane: LaneTable | None = None
        self._known: dict[frozenset[str], Pool] = {}

    @property
    def places(self) -> Mapping[str, int]:
        """Where each candidate stands in the lane."""
        return self.whole.lane.places

    @property
    def whole(self) -> Pool:
        """All candidates of the lane."""
        return self.without(frozenset())

    def without(self, names: frozenset[str]) -> Pool:
        """All but these."""
        known = self._known.get(names)
        if known is None:
            if self._lane is None:
                self._lane = _table(self._candidates)
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            left = tuple([each for each in self._candidates if each.provider not in names]) if names else None
            known = self._known[names] = Pool(self._candidates if left is None else left, self._lane)
        return known

    def of(self, candidates: "Sequence[Candidate]") -> Pool | None:
        """The pool of this very tuple; None where it is better to reckon one by one.

        They are few, or mostly of kinds of their own, or nobody has asked for all but those that are missing.
        """
        if len(candidates) <= self._few:
            return None
        if candidates is self._candidates:
            pool: Pool | None = self.whole
        else:
            pool = next((each for each in reversed(self._known.values()) if each.candidates is candidates), None)
        return pool if pool is not None and len(pool.members) <= len(candidates) * self._most_kinds else None


class LaneTable(NamedTuple):
    """What pools of a lane share."""

    candidates: "tuple[Candidate, ...]"
    kinds: Mapping[str, int]
    """By name, a number that is the same for those that cost the same."""
    places: Mapping[str, int]
    seeds: tuple[bytes, ...]
    """Of the candidates."""


def _table(candidates: "tuple[Candidate, ...]") -> LaneTable:
    numbers: dict[bytes, int] = {}
    kinds = {each.provider: numbers.setdefault(_kind(each), len(numbers)) for each in candidates}
    places = {each.provider: place for place, each in enumerate(candidates)}
    return LaneTable(candidates, kinds, places, tuple([each.seed for each in candidates]))


def _kind(candidate: "Candidate") -> bytes:
    """The same for two candidates at which every request costs the same, and that have the same weight."""
    common = replace(
        candidate,
        provider="",
        upstream_model="",
        seed=b"",
        zero_retention=None,
        trains_on_prompts=None,
        reads_provider_object=False,
        wait_level=0,
        unstreamed_s=0.0,
        limits=None,
        takes_affinity=False,
    )
    return msgspec.msgpack.encode(common)
