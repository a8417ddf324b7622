"""Objects that somebody undoes again and again: each is put back ever more slowly, so nobody is kept busy by it.

Two controllers that both want an object otherwise would write it as fast as an API server lets them, and a mesh would
tell all of its sidecars each time.
"""

from collections.abc import Callable
from typing import NamedTuple

from limpet_operator.mesh.gateway import text_hash
from limpet_operator.upkeep.steps import IstioKey

_MOST_DOUBLINGS = 16
"""Powers of two beyond this are longer than any wait."""


class _PutBack(NamedTuple):
    times: int
    at_s: float
    """The last time, by the clock."""


class Contested:
    """All methods belong to one event loop."""

    def __init__(self, first_s: float, longest_s: float, clock: Callable[[], float], own: str = "") -> None:
        """The wait doubles from the first to the longest; one that is left alone for twice the longest is forgiven.

        `own` tells us from others that do the same: two must not give way to each other in step for ever.
        """
        self._share = 1.0 - int(text_hash(own), 16) / 2**33
        """Of each wait, between a half and all of it."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._put_back: dict[IstioKey, _PutBack] = {}

    def put_back(self, key: IstioKey) -> int:
        """It was written once more as it had been; returns how often that was so of late."""
        now_s = self._clock()
        self._put_back = {of: it for of, it in self._put_back.items() if now_s - it.at_s <= 2 * self._longest_s}
        times = 1 + (self._put_back[key].times if key in self._put_back else 0)
        self._put_back[key] = _PutBack(times, now_s)
        return times

    def wait_s(self, key: IstioKey) -> float:
        """For how long not to put it back once more."""
        before = self._put_back.get(key)
        if before is None:
            return 0.0
        between_s = self._share * min(self._first_s * 2.0 ** min(before.times - 1, _MOST_DOUBLINGS), self._longest_s)
        return max(0.0, before.at_s + between_s - self._clock())

    def forget(self) -> None:
        """Begin anew."""
        self._put_back.clear()
