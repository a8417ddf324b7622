"""Many candidates whose prices hardly differ, as one: for sums over all of them, to which each adds little. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from math import fsum, inf
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.kinds import cost_kind

if TYPE_CHECKING:
    from limpet_extproc.decision.snapshot import Candidate

WIDTH: Final = 0.02
"""By this part of the lowest the prices of a group differ at most. What spreading costs, reckoned with the mean for all
of them, is off by about the square of that: a few ten thousandths."""

_MOST_KNOWN: Final = 64
"""Of sets that are apart: conversations that are warm at one provider mostly have the same. With 300 providers at
prices that hardly group, all of them take about 1.4 MiB for a lane."""


class PriceGroup(NamedTuple):
    """Candidates with about the same prices, and with the same cache and weight."""

    members: "tuple[Candidate, ...]"
    mean: "Candidate"
    """One at the mean of their prices; it has no name."""
    least: Price
    """Each of their prices at the lowest."""
    most: Price
    """At the highest."""


GroupLeft: TypeAlias = "tuple[PriceGroup, Candidate, int]"
"""A group, and the mean and the number of some of its members."""


class GroupsBeside(NamedTuple):
    """Some candidates by themselves, and groups of all others."""

    alone: "list[Candidate]"
    """In the order in which they were given."""
    groups: list[GroupLeft]
    most_input: float
    """The highest price of any in a group."""
    most_output: float
    candidates: "list[Candidate]"
    """Those that are alone, and the mean of each group."""
    prices: list[Price]
    counts: list[int]
    """How many each of them stands for."""


class PriceGroups:
    """All that have a price. Only for prices that are the same for all requests."""

    __slots__ = ("_all", "_at", "_known", "_members")

    def __init__(self, candidates: "Iterable[Candidate]") -> None:
        self._members = {each.provider: each for each in candidates if each.price is not None}
        alike: dict[bytes, list[Candidate]] = {}
        for each in self._members.values():
            alike.setdefault(cost_kind(each, price=None, next_price=None), []).append(each)
        self._all = [_group(members) for some in alike.values() for members in _narrow(some)]
        self._at = {each.provider: (at, each.price) for at, group in enumerate(self._all) for each in group.members}
        self._known: dict[tuple[frozenset[str], frozenset[str]], GroupsBeside] = {}

    def beside(self, alone: frozenset[str], left_out: frozenset[str] = frozenset()) -> GroupsBeside:
        """All but those that are `left_out` and not `alone`."""
        known = self._known.get((alone, left_out))
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[alone, left_out] = self._beside(alone, left_out)
        return known

    def _beside(self, alone: frozenset[str], left_out: frozenset[str]) -> GroupsBeside:
        some = [each for name, each in self._members.items() if name in alone]
        groups = self._without(alone | left_out)
        candidates = [*some, *[mean for _, mean, _ in groups]]
        return GroupsBeside(
            some,
            groups,
            max([group.most.input for group, _, _ in groups], default=0.0),
            max([group.most.output for group, _, _ in groups], default=0.0),
            candidates,
            [each.price for each in candidates if each.price is not None],
            [*[1 for _ in some], *[left for _, _, left in groups]],
        )

    def _without(self, apart: Iterable[str]) -> list[GroupLeft]:
        """Each with the mean and the number of its members that are not `apart`; none of which all are."""
        gone: dict[int, list[Price]] = {}
        for name in apart:
            at, price = self._at.get(name, (-1, None))
            if price is not None:
                gone.setdefault(at, []).append(price)
        found: list[GroupLeft] = []
        for at, group in enumerate(self._all):
            less = gone.get(at)
            if less is None:
                found.append((group, group.mean, len(group.members)))
            elif len(less) < len(group.members):
                found.append((group, _mean_without(group, less), len(group.members) - len(less)))
        return found


def _narrow(candidates: "Sequence[Candidate]") -> "Iterator[Sequence[Candidate]]":
    """Halved at the middle of the price that differs most, until all differ little."""
    prices = [_prices(each) for each in candidates]
    spans = [_span(column) for column in zip(*prices, strict=True)]
    widest = max(spans)
    if widest <= WIDTH:
        yield candidates
        return
    at = spans.index(widest)
    column = [each[at] for each in prices]
    middle = (min(column) + max(column)) / 2
    yield from _narrow([each for each, price in zip(candidates, column, strict=True) if price <= middle])
    yield from _narrow([each for each, price in zip(candidates, column, strict=True) if price > middle])


def _span(column: Sequence[float]) -> float:
    least, most = min(column), max(column)
    if least == most:
        return 0.0
    return (most - least) / least if least else inf


def _prices(candidate: "Candidate") -> tuple[float, float, float, float]:
    return (0.0, 0.0, 0.0, 0.0) if candidate.price is None else _four(candidate.price)


def _four(price: Price) -> tuple[float, float, float, float]:
    return price.input, price.output, price.cache_read, price.cache_write


def _group(members: "Sequence[Candidate]") -> PriceGroup:
    columns = list(zip(*map(_prices, members), strict=True))
    mean = replace(members[0], provider="", seed=b"", price=Price(*[_mean(each) for each in columns]))
    least, most = Price(*[min(each) for each in columns]), Price(*[max(each) for each in columns])
    return PriceGroup(tuple(members), mean, least, most)


def _mean(column: Sequence[float]) -> float:
    return column[0] if min(column) == max(column) else fsum(column) / len(column)


def _mean_without(group: PriceGroup, gone: Sequence[Price]) -> "Candidate":
    number, left = len(group.members), len(group.members) - len(gone)
    columns = zip(_prices(group.mean), _four(group.least), _four(group.most), *map(_four, gone), strict=True)
    # What rounding leaves outside of all prices might not be a near-equal where all of them are.
    prices = [min(max((number * mean - sum(each)) / left, least), most) for mean, least, most, *each in columns]
    return replace(group.mean, price=Price(*prices))
