"""By how many others each candidate is undercut: which of many can be among the cheapest, whatever is asked. Pure."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from limpet_extproc.decision.snapshot import Candidate

MOST_UNDERCUT: Final = 16
"""Who is undercut by so many is left out."""


def undercut(candidates: "Sequence[Candidate]") -> "list[tuple[int, Candidate]]":
    """Each with the number of others that cost less for any prompt and any answer, the least undercut first.

    One costs less if neither its input nor its output is dearer, and one of them is cheaper. Only for prices that are
    known and the same for all requests, and where a write to the cache costs as much as input.
    """
    priced = [((each.price.input, each.price.output), each) for each in candidates if each.price is not None]
    priced.sort(key=itemgetter(0))
    outputs: list[float] = []
    """Of those before, whose input costs no more."""
    found: list[tuple[int, Candidate]] = []
    for (_, output), alike in groupby(priced, key=itemgetter(0)):
        by = bisect_right(outputs, output)
        for _, each in alike:
            if by < MOST_UNDERCUT:
                found.append((by, each))
            insort(outputs, output)
    found.sort(key=itemgetter(0))
    return found
