"""What a provider was asked for in the last minute, and what is under way there. Time is always the caller's."""

from collections import deque
from collections.abc import Iterator
from math import floor
from typing import Final

MINUTE_S: Final = 60

LONGEST_S: Final = 600.0
"""A request whose end was never heard of counts as under way for this long. Its log entry was lost, or the request runs
for longer; ten minutes is what clients wait by default."""


class SlidingMinute:
    """The sum of what was added within the last minute, kept by the second.

    A second leaves the sum when all of it is a minute old. So the sum is never below that of the last 60 seconds, and
    what was added leaves it a second late at most.
    """

    __slots__ = ("_seconds", "_total")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        """Second and amount of each that is not empty, the oldest first: at most 61."""
        self._total = 0

    def add(self, amount: int, now_s: float) -> None:
        """Add this at this time, which is never before that of the last call."""
        second = floor(now_s)
        if self._seconds and self._seconds[-1][0] >= second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])
        self._total += amount

    def take_back(self, amount: int, added_s: float) -> None:
        """Take off up to this much of what was added at that time, as far as it still counts."""
        second = floor(added_s)
        for each in reversed(self._seconds):  # mostly one of the last
            if each[0] == second:
                less = min(amount, each[1])
                each[1] -= less
                self._total -= less
                return

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been added that may still count."""
        return not self._seconds

    def total(self, now_s: float) -> int:
        """The sum at this time."""
        oldest = floor(now_s) - MINUTE_S
        while self._seconds and self._seconds[0][0] < oldest:
            self._total -= self._seconds.popleft()[1]
        return self._total

    def leaving(self, now_s: float) -> Iterator[tuple[int, int]]:
        """In how many seconds from the one that has begun what leaves the sum, if nothing is added."""
        self.total(now_s)
        last = floor(now_s) - MINUTE_S - 1
        for second, amount in self._seconds:
            yield second - last, amount


class UnderWay:
    """The requests that have begun and not ended.

    A request is named by when it was decided, on the clock of the worker that did: that name comes back with its log
    entry, at whichever worker. Two of the same instant need no telling apart.
    """

    __slots__ = ("_begun", "_count")

    def __init__(self) -> None:
        self._begun: dict[float, list[float]] = {}
        """By name, when each was begun on our own clock; the oldest first."""
        self._count = 0

    def begin(self, name_s: float, now_s: float) -> None:
        """Count a request."""
        self._begun.setdefault(name_s, []).append(now_s)
        self._count += 1

    def end(self, name_s: float) -> float | None:
        """Count it no more. When it was begun; None if no such request is under way."""
        begun = self._begun.get(name_s)
        if begun is None:
            return None
        begun_s = begun.pop()
        if not begun:
            del self._begun[name_s]
        self._count -= 1
        return begun_s

    @property
    def is_empty(self) -> bool:
        """Whether none may be under way."""
        return not self._begun

    def end_all(self) -> None:
        """None is under way any more."""
        self._begun.clear()
        self._count = 0

    def count(self, now_s: float) -> int:
        """How many are under way, without those whose end has not been heard of for too long."""
        while self._begun:
            name_s = next(iter(self._begun))
            if now_s - self._begun[name_s][0] < LONGEST_S:
                break
            self._count -= len(self._begun.pop(name_s))
        return self._count
