"""Which kinds of candidates can cost least at all: those that no other kind undercuts in every price. Pure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from limpet_extproc.decision.kinds import cost_kind

if TYPE_CHECKING:
    from limpet_extproc.decision.snapshot import Candidate

_Prices = tuple[float, float, float, float]


def undominated(kinds: "Iterable[tuple[int, Candidate]]") -> frozenset[int]:
    """Of kinds, each with one of its candidates: without those that cost no less than another whatever is asked.

    Only caches that are alike are compared, and only prices that are the same for all requests.
    """
    found: set[int] = set()
    alike: dict[bytes, list[tuple[_Prices, int]]] = {}
    for number, candidate in kinds:
        price = candidate.price
        if price is None or not _is_plain(candidate):
            found.add(number)
            continue
        prices = price.input, price.cache_write, price.cache_read, price.output
        alike.setdefault(cost_kind(candidate, price=None, weight=0, drain=False), []).append((prices, number))
    for each in alike.values():
        front: list[_Prices] = []
        for prices, number in sorted(each):  # who undercuts another comes before it
            if not any(_undercuts(other, prices) for other in front):
                front.append(prices)
                found.add(number)
    return frozenset(found)


def _undercuts(one: _Prices, other: _Prices) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def _is_plain(candidate: "Candidate") -> bool:
    """Whether its prices are those of all requests, and which of them count does not depend on how high they are."""
    adds_marks = candidate.prompt_caching == "Auto" and candidate.cache_control != "None"
    price = candidate.price
    varies = candidate.tiers or candidate.service_tiers or candidate.next_price is not None or adds_marks
    return not varies and price is not None and price.cache_write_long is None
