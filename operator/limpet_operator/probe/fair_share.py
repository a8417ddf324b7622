"""Which of the probes that are due may start now, so that providers that hang hold up nobody else's probes. Pure.

Each namespace may have as many probes under way as there are places free. So the first takes half of them and the next
half of the rest, until all that want it have about the same; and a place is nearly always free for one that has none.
"""

from collections import Counter
from collections.abc import Iterable

from limpet_operator.probe.schedule import Pair


def may_start(due: Iterable[Pair], under_way: Iterable[Pair], places: int) -> tuple[Pair, ...]:
    """Of those `due`, the longest overdue first. With places for so many in all."""
    by_namespace = Counter(pair.probe.namespace for pair in under_way)
    free = places - by_namespace.total()
    starting: list[Pair] = []
    for pair in due:
        if by_namespace[pair.probe.namespace] < free:
            by_namespace[pair.probe.namespace] += 1
            free -= 1
            starting.append(pair)
    return tuple(starting)
