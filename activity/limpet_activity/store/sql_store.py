"""An ActivityStore in SQLite or PostgreSQL."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final

from sqlalchemy import URL, Connection, text

from limpet_activity.store import adding, paging, reports
from limpet_activity.store.asked import askable, askable_text
from limpet_activity.store.combinations import KnownCombinations
from limpet_activity.store.databases import Database, explained, open_database
from limpet_activity.store.migrate import NEWEST, migrate
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
from limpet_activity.store.read_only import require_tables
from limpet_activity.store.retention import KeepLimits, give_back, tidy
from limpet_activity.store.taking import Taken
from limpet_activity.store.validation import sanitized_record, shift_s, unique
from limpet_activity.store.writing import RecordWriter
from limpet_extproc.contract.activity import ActivityBatch, ActivityRecord

_log = logging.getLogger(__name__)


class SqlStore:
    """See `port.ActivityStore`. Thread-safe; those that write wait for each other."""

    def __init__(
        self, url: URL, known: Callable[[], KnownCombinations] = KnownCombinations, *, read_only: bool = False
    ) -> None:
        """Of `databases.parse_url`. Raises StoreError if its file cannot be made; `read_only`, if there is none."""
        self._database: Final[Database] = open_database(url, read_only=read_only)
        self._read_only: Final = read_only
        self._writer: Final = RecordWriter(self._database, known)
        self._writing: Final = Lock()

    def prepare(self) -> None:
        """Bring its tables up to date; `read_only`: see that they are. Raises StoreError."""
        if self._read_only:
            with self._database.reading() as connection:
                require_tables(connection, NEWEST)
        else:
            migrate(self._database)

    def close(self) -> None:
        """Close its connections."""
        self._database.engine.dispose()

    def take(self, batches: Sequence[ActivityBatch], now_s: float) -> int:
        """Keep what is new; how many records that were."""
        return len(self.take_new(batches, now_s).new)

    def take_new(self, batches: Sequence[ActivityBatch], now_s: float) -> Taken:
        """See `taking.Take`."""
        handed = [
            (record, later_s)
            for batch, later_s in ((batch, shift_s(batch.sent_s, now_s)) for batch in batches)
            for record in batch.records
        ]
        valid = [kept for record, later_s in handed if (kept := sanitized_record(record, now_s, later_s)) is not None]
        with self._write() as connection:
            written = self._writer.write(connection, unique(valid))
            reports.write_reports(connection, batches, now_s)
        return Taken(written.new, len(handed) - len(valid), written.too_old)

    def tidy(self, limits: KeepLimits, now_s: float) -> bool:
        """Remove some of what is not to be kept; whether there may be more. Raises StoreError."""
        with self._write() as connection:
            more = tidy(connection, self._database, limits, now_s)
        if not self._database.is_postgresql:
            with self._writing, explained(), self._database.engine.connect() as connection:
                give_back(connection)
                connection.commit()
        return more

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._writing:
            try:
                if self._database.has_gone():
                    _log.error("the file of the store was removed or replaced while it was in use: its path is used")
                    self._database.reopen()
                    self._writer.forget()
                    migrate(self._database)
                with explained(), self._database.engine.begin() as connection:
                    self._database.write(connection)
                    yield connection
            except BaseException:
                self._writer.forget()
                raise

    def page(
        self, which: ActivityFilter, older_than: Position | None, limit: int, newer_than: Position | None = None
    ) -> Page:
        """The newest of them, those that follow, or those that come right before; of the positions at most one."""
        with self._database.reading() as connection:
            return paging.page(
                connection, self._database, askable(which), _position(older_than), limit, _position(newer_than)
            )

    def taken_after(self, which: ActivityFilter, number: int, limit: int) -> tuple[Sequence[ActivityRecord], int]:
        """Those taken in after the one with this number, the oldest first, and the number of the last; to follow."""
        with self._database.reading() as connection:
            asked = askable(which)
            return paging.taken_after(connection, adding.what_is_asked(connection, asked), asked, number, limit)

    def last_number(self) -> int:
        """Of what was taken in last; 0: nothing was."""
        with self._database.reading() as connection:
            return paging.last_number(connection)

    def record(self, record_id: str) -> ActivityRecord | None:
        """The one with this id, if it is kept."""
        with self._database.reading() as connection:
            return paging.by_id(connection, askable_text(record_id))

    def turns(self, conversation: str, limit: int) -> Sequence[ActivityRecord]:
        """The last requests of a conversation, the oldest first."""
        with self._database.reading() as connection:
            return paging.turns(connection, askable_text(conversation), limit)

    def sums(self, which: ActivityFilter) -> Sums:
        """Over all of them."""
        with self._database.reading() as connection:
            return adding.sums(connection, self._database, askable(which))

    def steps(self, which: ActivityFilter, step_s: int) -> Sequence[Step]:
        """Over time, from `since_s` to `until_s`, also where nothing was. Steps are whole minutes."""
        with self._database.reading() as connection:
            return adding.steps(connection, self._database, askable(which), step_s)

    def groups(self, which: ActivityFilter, by: Facet, limit: int) -> Sequence[Group]:
        """By value, the one with the most requests first; what is beyond `limit` is one group `(others)`."""
        with self._database.reading() as connection:
            return adding.breakdown(connection, self._database, askable(which), (by,), limit)[by]

    def breakdown(self, which: ActivityFilter, facets: Sequence[Facet], limit: int) -> Mapping[Facet, Sequence[Group]]:
        """`groups` by each of these, at once."""
        with self._database.reading() as connection:
            return adding.breakdown(connection, self._database, askable(which), facets, limit)

    def group_steps(self, which: ActivityFilter, by: Facet, step_s: int) -> Sequence[GroupStep]:
        """Over time and by value, in this order, where something was. Steps are whole minutes."""
        with self._database.reading() as connection:
            return adding.group_steps(connection, self._database, askable(which), by, step_s)

    def providers(self) -> Sequence[SeenProvider]:
        """As each gateway reported each of them last."""
        with self._database.reading() as connection:
            return list(reports.seen_providers(connection))

    def verdicts(self, since_s: float) -> Sequence[VerdictSpan]:
        """How providers were doing, by provider and gateway, the oldest first."""
        with self._database.reading() as connection:
            return list(reports.verdict_spans(connection, since_s))

    def state(self) -> StoreState:
        """How the store itself is doing."""
        with self._database.reading() as connection:
            first, last, oldest_s, newest_s = connection.execute(
                text(
                    "SELECT (SELECT min(number) FROM records), (SELECT max(number) FROM records),"
                    " (SELECT min(time_s) FROM records), (SELECT max(time_s) FROM records)"
                )
            ).one()
            dropped = connection.execute(text("SELECT sum(1.0 * dropped) FROM workers")).scalar()
            size = self._database.size_bytes(connection)
        # Numbers have no gaps, except where old records came late and were removed before others.
        records = 0 if last is None else last - first + 1
        return StoreState(int(records), oldest_s, newest_s, size, int(dropped or 0))


def _position(position: Position | None) -> Position | None:
    return None if position is None else Position(position.time_s, askable_text(position.id))
