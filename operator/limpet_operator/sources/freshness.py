"""How far the watches are behind what listings show. Pure: the current time is passed in.

A listing has the newest version of each object at one moment. An object is *behind* while nothing as new has been
received of it; it is *missing* while it has been listed first and never received. A watch that is behind and silent
has died without reporting it; one that is behind and busy is merely slow.
"""

from collections.abc import Mapping

from limpet_operator.resources.problem import ObjectKey

_Stream = tuple[str, str | None]
"""One watch: a kind, and a namespace, or None for all of them."""


class WatchFreshness:
    """Seconds are those of one monotonic clock."""

    def __init__(self, *, by_namespace: bool) -> None:
        """`by_namespace`: each namespace has its own watch."""
        self._by_namespace = by_namespace
        self._missing: set[ObjectKey] | None = None
        """None: the first listing has not been taken."""
        self._behind: dict[ObjectKey, tuple[int, float]] = {}
        """Objects that are newer in the last listing: the version here, and since when it is that."""
        self._started_s = 0.0
        self._received_s: dict[_Stream, float] = {}
        """When each watch last delivered anything."""

    @property
    def missing(self) -> int | None:
        """How many objects of the first listing have not been received; None: it has not been taken."""
        return None if self._missing is None else len(self._missing)

    @property
    def behind(self) -> int:
        """How many objects are newer in the last listing than what was received."""
        return len(self._behind)

    def watch_started(self, now_s: float) -> None:
        """All watches were started now."""
        self._started_s = now_s

    def listing_taken(self, behind: Mapping[ObjectKey, int], now_s: float) -> bool:
        """Objects that are newer in a listing, each with the version here; returns whether fewer are missing now.

        What was deleted between the first listing and the start of the watch will never be received: of the missing
        only those that are still listed count.
        """
        since: dict[ObjectKey, tuple[int, float]] = {}
        for key, version in behind.items():
            before = self._behind.get(key)
            since[key] = before if before is not None and before[0] == version else (version, now_s)
        self._behind = since
        missing = set(behind) if self._missing is None else self._missing & behind.keys()
        changed = missing != self._missing
        self._missing = missing
        return changed

    def listing_failed(self) -> None:
        """Without a listing nothing is known to be behind."""
        self._behind = {}

    def received(self, key: ObjectKey, now_s: float) -> None:
        """A watch has delivered this object, or its deletion."""
        if self._missing:
            self._missing.discard(key)
        self._behind.pop(key, None)
        self._received_s[self._stream(key)] = now_s

    def silent_s(self, now_s: float) -> float:
        """For how long the watch of an object that is behind has delivered nothing; the longest such time."""
        silences = (now_s - max(since_s, self._last_received_s(key)) for key, (_, since_s) in self._behind.items())
        return max(silences, default=0.0)

    def is_overdue(self, now_s: float, limit_s: float) -> bool:
        """Whether a watch has been silent for longer than that since it was started, although it is behind."""
        return self.silent_s(now_s) > limit_s and now_s - self._started_s > limit_s

    def _last_received_s(self, key: ObjectKey) -> float:
        return self._received_s.get(self._stream(key), 0.0)

    def _stream(self, key: ObjectKey) -> _Stream:
        return key.kind, key.namespace if self._by_namespace else None
