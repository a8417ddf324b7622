"""The candidates of a lane that a request may go to, by what they cost: reckoned for each kind, and not one by one.

Nearly all of what a request costs at a candidate depends on its prices and on what its cache is like, which many
candidates of a model have alike. Only what is warm and what was learned of errors and speed sets single ones apart.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from xxhash import xxh3_128_digest

from limpet_extproc.decision.kinds import cost_kind
from limpet_extproc.decision.price_groups import PriceGroups
from limpet_extproc.decision.undercut import MOST_UNDERCUT, undercut
from limpet_extproc.decision.undominated import undominated

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

    __slots__ = (
        "_but_one",
        "_cheapest",
        "_entries",
        "_entry_of",
        "_front",
        "_groups",
        "_names",
        "_undercut",
        "by_weight",
        "candidates",
        "is_varied",
        "kind_of",
        "lane",
        "members",
        "most_weight",
        "unknown",
    )

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
        self._but_one: dict[str, list[PoolEntry]] = {}
        self._entry_of = {each.kind: each for each in self._entries}
        self._front: frozenset[int] | None = None
        self._groups: PriceGroups | None = None
        self._cheapest: dict[tuple[int, str], Sequence[Candidate]] = {}
        self._undercut: Sequence[tuple[int, Candidate]] | None = None
        self.is_varied = len(members) > len(candidates) * lane.most_kinds
        """Whether most cost something of their own, so that there is little to save by kinds."""
        self.unknown = any(alike[0].price is None for alike in self.members.values())
        """Whether the price of any is not known."""
        self.most_weight = max([each.weight for each in candidates], default=0)
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
        if not apart:
            return self._entries
        if len(apart) > 1:
            return self._entries_but(apart)
        (name,) = apart  # nearly always: where the conversation is warm
        known = self._but_one.get(name)
        if known is None:
            known = self._entries_but(apart)
            if name in self.kind_of and len(known) <= FEW:
                self._but_one[name] = known
        return known

    def _entries_but(self, apart: Collection[str]) -> list[PoolEntry]:
        found, fewer = self._alone(apart)
        if not found:
            return self._entries
        for entry in self._entries:
            left = self._without(entry, fewer.get(entry.kind, 0), apart)
            if left is not None:
                found.append(left)
        found.sort()
        return found

    def _alone(self, apart: Collection[str]) -> tuple[list[PoolEntry], dict[int, int]]:
        """Those of the pool that are `apart` as entries of their own, and how many of each kind they are."""
        lane = self.lane
        found: list[PoolEntry] = []
        fewer: dict[int, int] = {}
        for name in apart:
            kind = self.kind_of.get(name)
            if kind is not None:
                fewer[kind] = fewer.get(kind, 0) + 1
                found.append(PoolEntry(lane.places[name], lane.candidates[lane.places[name]], 1, -1))
        return found, fewer

    def sample(
        self, apart: Collection[str], uncounted: Container[str], drawn: Iterable[int] = ()
    ) -> list[PoolEntry] | None:
        """Of `entries` those that tell what costs least, and those of the candidates at the places that are `drawn`.

        Whatever is left out costs no less than one of them (`front`). None: that is not so, as all of a kind that
        others are compared with are `uncounted`: dearer than their prices say, or not to be had. These are `apart` too.
        """
        if self.unknown:
            return None  # they count as the dearest of all
        wanted = dict.fromkeys(self.front)
        wanted.update(dict.fromkeys([kind for at in drawn if (kind := self._kind_at(at)) is not None]))
        found, fewer = self._alone(apart)
        for kind in wanted:
            entry = self._entry_of[kind]
            left = self._without(entry, fewer.get(kind, 0), apart)
            if left is not None:
                found.append(left)
            elif kind in self.front and all(each.provider in uncounted for each in self.members[kind]):
                return None
        found.sort()
        return found

    @property
    def front(self) -> frozenset[int]:
        """The kinds that no other kind undercuts in one price without being dearer in another."""
        if self._front is None:
            self._front = undominated([(kind, alike[0]) for kind, alike in self.members.items()])
        return self._front

    def cheapest(self, most: int, apart: Collection[str] = ()) -> "Sequence[Candidate] | None":
        """All that may be among the `most` that cost least of those that are not `apart`, by their own price lists.

        Of a lane with plain prices (`Lane.plain_prices`), for a request with some tokens in its prompt and in its
        answer of which nothing is warm there. None: it takes all of them to tell.
        """
        if len(apart) > 1:
            return self._cheapest_but(most, apart)
        name = next(iter(apart), "")  # nearly always where the conversation is warm, or nobody
        known = self._cheapest.get((most, name))
        if known is None:
            known = self._cheapest_but(most, apart)
            if known is not None and (not name or name in self.kind_of):
                self._cheapest[most, name] = known
        return known

    def _cheapest_but(self, most: int, apart: Collection[str]) -> "Sequence[Candidate] | None":
        needed = most + len(apart)  # if all of these come before the others
        if needed > MOST_UNDERCUT:
            return None
        if self._undercut is None:
            self._undercut = undercut(self.candidates)
        found = []
        for by, each in self._undercut:
            if by >= needed:
                break
            if each.provider not in apart:
                found.append(each)
        return found

    @property
    def groups(self) -> PriceGroups:
        """Its candidates by what they nearly cost; only of a lane with plain prices."""
        if self._groups is None:
            self._groups = PriceGroups(self.candidates)
        return self._groups

    def _without(self, entry: PoolEntry, less: int, apart: Collection[str]) -> PoolEntry | None:
        if not less:
            return entry
        if less == entry.size:
            return None
        first = next(each for each in self.members[entry.kind] if each.provider not in apart)
        return PoolEntry(self.lane.places[first.provider], first, entry.size - less, entry.kind)

    def _kind_at(self, place: int) -> int | None:
        return self.kind_of.get(self.lane.candidates[place].provider)

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
        names = self._names[entry.kind][: most + len(apart)]
        return [name for name in names if name not in apart][:most]


class Pools:
    """Those of a lane, each made when it is first needed and then kept.

    Whether one is known changes no result. Who is out changes rarely, and mostly to and fro.
    """

    __slots__ = ("_candidates", "_few", "_known", "_lane", "_most_kinds")

    def __init__(self, candidates: "tuple[Candidate, ...]", few: int = FEW, most_kinds: float = MOST_KINDS) -> None:
        """`few`: up to so many candidates are no pool. `most_kinds`, by candidate: beyond it a pool is varied."""
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
                self._lane = _table(self._candidates, self._most_kinds)
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            left = tuple([each for each in self._candidates if each.provider not in names]) if names else None
            known = self._known[names] = Pool(self._candidates if left is None else left, self._lane)
        return known

    def of(self, candidates: "Sequence[Candidate]") -> Pool | None:
        """The pool of this very tuple; None: they are few, or nobody has asked for all but those that are missing."""
        if len(candidates) <= self._few:
            return None
        if candidates is self._candidates:
            return self.whole
        return next((each for each in reversed(self._known.values()) if each.candidates is candidates), None)


class LaneTable(NamedTuple):
    """What pools of a lane share."""

    candidates: "tuple[Candidate, ...]"
    kinds: Mapping[str, int]
    """By name, a number that is the same for those that cost the same."""
    places: Mapping[str, int]
    seeds: tuple[bytes, ...]
    """Of the candidates: what their numbers are drawn with."""
    names_digest: bytes
    """The same for lanes with the same seeds in the same order."""
    most_kinds: float


def _table(candidates: "tuple[Candidate, ...]", most_kinds: float) -> LaneTable:
    numbers: dict[bytes, int] = {}
    kinds = {each.provider: numbers.setdefault(cost_kind(each), len(numbers)) for each in candidates}
    places = {each.provider: place for place, each in enumerate(candidates)}
    seeds = tuple([each.seed for each in candidates])
    return LaneTable(candidates, kinds, places, seeds, xxh3_128_digest(msgspec.msgpack.encode(seeds)), most_kinds)
