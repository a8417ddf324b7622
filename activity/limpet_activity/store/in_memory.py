"""Records in this process alone: for tests, and where nothing is to be kept."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Final

from limpet_activity.store.facts import OTHERS, added, facet_of, matches, sums_of
from limpet_activity.store.port import (
    ActivityFilter,
    Facet,
    Group,
    GroupStep,
    Page,
    Position,
    SeenProvider,
    Step,
    StoreState,
    Sums,
    VerdictSpan,
)
from limpet_extproc.contract.activity import ActivityBatch, ActivityRecord, ProviderReport

MOST_KEPT: Final = 20_000
"""Records; then the oldest go."""

_Key = tuple[float, str]


class InMemoryStore:
    """An ActivityStore whose records end with the process."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most: Final = most
        self._lock: Final = Lock()
        self._records: Final[dict[str, ActivityRecord]] = {}
        self._by_time: Final[list[_Key]] = []
        self._taken: Final[list[tuple[int, str]]] = []
        """By number, in the order in which they were taken."""
        self._number = 0
        self._seen: Final[dict[tuple[str, str], SeenProvider]] = {}
        self._spans: Final[dict[tuple[str, str], list[VerdictSpan]]] = {}
        self._dropped: Final[dict[tuple[str, int, float], int]] = {}

    def take(self, batches: Sequence[ActivityBatch], now_s: float) -> int:
        """Keep what is new; how many records that were."""
        with self._lock:
            before = self._number
            for batch in batches:
                worker = (batch.gateway, batch.worker, batch.started_s)
                self._dropped[worker] = max(batch.dropped, self._dropped.get(worker, 0))
                for report in batch.providers:
                    self._see(report, batch.gateway, batch.sent_s or now_s)
                for record in batch.records:
                    self._keep(record)
            self._forget()
            return self._number - before

    def _keep(self, record: ActivityRecord) -> None:
        if record.id in self._records:
            return
        self._number += 1
        self._records[record.id] = record
        self._taken.append((self._number, record.id))
        insort(self._by_time, (record.time_s, record.id))

    def _forget(self) -> None:
        for _, record_id in self._by_time[: max(0, len(self._by_time) - self._most)]:
            del self._records[record_id]
        if len(self._by_time) > self._most:
            del self._by_time[: len(self._by_time) - self._most]
            self._taken[:] = [taken for taken in self._taken if taken[1] in self._records]

    def _see(self, report: ProviderReport, gateway: str, at_s: float) -> None:
        key = (report.provider, gateway)
        last = self._seen.get(key)
        if last is not None and last.at_s > at_s:
            return
        self._seen[key] = SeenProvider(report, gateway, at_s)
        spans = self._spans.setdefault(key, [])
        if spans and (spans[-1].verdict, spans[-1].cause) == (report.verdict, report.cause):
            return
        begin_s = report.since_s or at_s
        if spans:
            begin_s = max(begin_s, spans[-1].begin_s)
            spans[-1] = VerdictSpan(*key, spans[-1].verdict, spans[-1].cause, spans[-1].begin_s, begin_s)
        spans.append(VerdictSpan(*key, report.verdict, report.cause, begin_s, None))

    def page(
        self, which: ActivityFilter, older_than: Position | None, limit: int, newer_than: Position | None = None
    ) -> Page:
        """The newest of them, those that follow, or those that come right before; of the positions at most one."""
        with self._lock:
            begin, end = 0, len(self._by_time)
            if older_than is not None:
                end = bisect_left(self._by_time, (older_than.time_s, older_than.id))
            if newer_than is not None:
                begin = bisect_right(self._by_time, (newer_than.time_s, newer_than.id))
                found = list(islice(self._meant(which, range(begin, end)), limit + 1))
            else:
                found = list(islice(self._meant(which, reversed(range(begin, end))), limit + 1))
        shown, more = found[:limit], len(found) > limit
        if newer_than is not None:
            shown.reverse()
            return Page(shown, _position(shown[-1:]), _position(shown[:1] if more else ()))
        return Page(shown, _position(shown[-1:] if more else ()), _position(shown[:1] if older_than else ()))

    def _meant(self, which: ActivityFilter, indexes: Iterable[int]) -> Iterator[ActivityRecord]:
        for index in indexes:
            record = self._records[self._by_time[index][1]]
            if matches(which, record):
                yield record

    def _all(self, which: ActivityFilter) -> list[ActivityRecord]:
        with self._lock:
            return list(self._meant(which, reversed(range(len(self._by_time)))))

    def taken_after(self, which: ActivityFilter, number: int, limit: int) -> tuple[Sequence[ActivityRecord], int]:
        """Those taken in after the one with this number, the oldest first, and the number of the last; to follow.

        That is the last that was looked at, so that a filter which nothing meets does not look at it again.
        """
        with self._lock:
            found: list[ActivityRecord] = []
            for taken, record_id in self._taken[bisect_left(self._taken, (number + 1, "")) :]:
                record = self._records[record_id]
                if matches(which, record):
                    found.append(record)
                    if len(found) == limit:
                        return found, taken
            return found, max(number, self._number)

    def last_number(self) -> int:
        """Of what was taken in last; 0: nothing was."""
        with self._lock:
            return self._number

    def record(self, record_id: str) -> ActivityRecord | None:
        """The one with this id, if it is kept."""
        with self._lock:
            return self._records.get(record_id)

    def turns(self, conversation: str, limit: int) -> Sequence[ActivityRecord]:
        """The last requests of a conversation, the oldest first."""
        theirs = [record for record in self._all(ActivityFilter()) if record.conversation == conversation]
        return theirs[:limit][::-1]

    def sums(self, which: ActivityFilter) -> Sums:
        """Over all of them."""
        return sums_of(self._all(which))

    def steps(self, which: ActivityFilter, step_s: int) -> Sequence[Step]:
        """Over time, from `since_s` to `until_s`, also where nothing was. Steps are whole minutes."""
        found = self._all(which)
        if not found and (which.since_s is None or which.until_s is None):
            return ()
        since_s = found[-1].time_s if which.since_s is None else which.since_s
        first = int(since_s // step_s)
        after = int(found[0].time_s // step_s) + 1 if which.until_s is None else -int(-which.until_s // step_s)
        sums: dict[int, list[ActivityRecord]] = {index: [] for index in range(first, after)}
        for record in found:
            sums[int(record.time_s // step_s)].append(record)
        return [Step(float(index * step_s), sums_of(records)) for index, records in sums.items()]

    def groups(self, which: ActivityFilter, by: Facet, limit: int) -> Sequence[Group]:
        """By value, the one with the most requests first; what is beyond `limit` is one group `(others)`."""
        found: dict[str, list[ActivityRecord]] = {}
        for record in self._all(which):
            found.setdefault(facet_of(record, by), []).append(record)
        groups = [Group(value, sums_of(records)) for value, records in found.items()]
        groups.sort(key=lambda group: (-group.sums.requests, group.value))
        others = Sums()
        for group in groups[limit:]:
            others = added(others, group.sums)
        return [*groups[:limit], *([Group(OTHERS, others)] if groups[limit:] else ())]

    def group_steps(self, which: ActivityFilter, by: Facet, step_s: int) -> Sequence[GroupStep]:
        """Over time and by value, in this order, where something was. Steps are whole minutes."""
        found: dict[tuple[int, str], list[ActivityRecord]] = {}
        for record in self._all(which):
            found.setdefault((int(record.time_s // step_s), facet_of(record, by)), []).append(record)
        return [GroupStep(value, float(at * step_s), sums_of(found[at, value])) for at, value in sorted(found)]

    def breakdown(self, which: ActivityFilter, facets: Sequence[Facet], limit: int) -> Mapping[Facet, Sequence[Group]]:
        """`groups` by each of these."""
        return {by: self.groups(which, by, limit) for by in facets}

    def providers(self) -> Sequence[SeenProvider]:
        """As each gateway reported each of them last."""
        with self._lock:
            return [self._seen[key] for key in sorted(self._seen)]

    def verdicts(self, since_s: float) -> Sequence[VerdictSpan]:
        """How providers were doing, by provider and gateway, the oldest first."""
        with self._lock:
            spans = [span for key in sorted(self._spans) for span in self._spans[key]]
        return [span for span in spans if span.end_s is None or span.end_s > since_s]

    def state(self) -> StoreState:
        """How the store itself is doing."""
        with self._lock:
            return StoreState(
                records=len(self._records),
                oldest_s=self._by_time[0][0] if self._by_time else None,
                newest_s=self._by_time[-1][0] if self._by_time else None,
                size_bytes=0,
                dropped=sum(self._dropped.values()),
            )


def _position(of: Sequence[ActivityRecord]) -> Position | None:
    return Position(of[0].time_s, of[0].id) if of else None
