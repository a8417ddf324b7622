"""How new records get into the tables: with their kinds and what they add up to, in one transaction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select, text

from limpet_activity.store import rollups
from limpet_activity.store.databases import Database
from limpet_activity.store.facts import OTHERS, facet_of
from limpet_activity.store.kinds import KnownKinds, RecordKind, kind_of
from limpet_activity.store.tables import SUMMED, kinds, records
from limpet_extproc.contract.activity import ActivityRecord

_ENCODE: Final = msgspec.msgpack.Encoder().encode

_NUMBERS: Final = ("requests", *SUMMED)
_SUMS_FAILED: Final = 1
"""Where `port.Sums` has `failed`, which is a part of the kind."""

_COLUMNS: Final = tuple(column.name for column in records.columns)
_INSERT_RECORD: Final = f"INSERT INTO records ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_COPY_RECORDS: Final = f"COPY records ({', '.join(_COLUMNS)}) FROM STDIN"

_ADD_UP: Final = text(
    f"INSERT INTO rollups (kind, grain, begin, {', '.join(_NUMBERS)})"
    f" VALUES (:kind, :grain, :begin, {', '.join(f':{name}' for name in _NUMBERS)})"
    " ON CONFLICT (kind, grain, begin) DO UPDATE SET "
    + ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in _NUMBERS)
)


class RecordWriter:
    """Writes records of one process; it knows the kinds that are in the database. Not thread-safe."""

    def __init__(self, database: Database, known: Callable[[], KnownKinds] = KnownKinds) -> None:
        self._database: Final = database
        self._kinds: Final = known()
        self._removed = -1
        self._days: Final[set[int]] = set()

    def write(self, connection: Connection, found: Sequence[ActivityRecord]) -> list[ActivityRecord]:
        """Write those that are not there yet, each id once, and return them. The transaction is one of `write`.

        Call `forget` if the transaction does not end well.
        """
        new = self._without_known(connection, found)
        if not new:
            return []
        counters = _counters(connection)
        self._load_kinds(connection, counters.get("kinds_removed", 0))
        number = counters.get("number", 0)
        rows, added = [], []
        for record in new:
            number += 1
            full = kind_of(record)
            kind = self._kinds.fitted(full)
            counted = rollups.counted(record)
            added.append((kind, record.time_s, counted))
            rows.append(_row(number, self._kinds.number(kind), record, kind, counted))
        sums = rollups.rolled_up(added)
        minutes_from = counters.get("minutes_from", 0)
        adding = [
            self._addition(spot, numbers)
            for spot, numbers in sums.items()
            if spot.grain != rollups.MINUTE_S or spot.begin >= minutes_from
        ]
        # In one order, so that pages of the index are touched once; and the kinds that this has numbered come first.
        adding.sort(key=lambda row: (row["kind"], row["grain"], row["begin"]))
        self._insert_kinds(connection)
        self._insert(connection, rows)
        connection.execute(_ADD_UP, adding)
        set_counter(connection, "number", number)
        return new

    def forget(self) -> None:
        """What was last written is not in the database, or that is not known."""
        self._kinds.clear()
        self._removed = -1
        self._days.clear()

    def _without_known(self, connection: Connection, found: Sequence[ActivityRecord]) -> list[ActivityRecord]:
        ids = [record.id for record in found]
        if not ids:
            return []
        if self._database.is_postgresql:
            # The times of these, so that days are left alone that cannot have them.
            times = [record.time_s for record in found]
            known = connection.exec_driver_sql(
                "SELECT id FROM records WHERE id = ANY(%s) AND time_s BETWEEN %s AND %s", (ids, min(times), max(times))
            )
        else:
            known = connection.exec_driver_sql(
                "SELECT id FROM records WHERE id IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(ids).decode(),),
            )
        there = set(known.scalars())
        return [record for record in found if record.id not in there]

    def _load_kinds(self, connection: Connection, removed: int) -> None:
        if removed != self._removed:
            self._kinds.clear()
            self._removed = removed
        rows = connection.execute(select(kinds).where(kinds.c.id > self._kinds.last).order_by(kinds.c.id))
        self._kinds.load((row[0], RecordKind(*row[1:])) for row in rows)

    def _addition(self, spot: rollups.Spot, numbers: Sequence[float]) -> dict[str, float]:
        values = [number for index, number in enumerate(numbers) if index != _SUMS_FAILED]
        row: dict[str, float] = dict(zip(_NUMBERS, values, strict=True))
        row.update(kind=self._kinds.number(spot.kind), grain=spot.grain, begin=spot.begin)
        return row

    def _insert_kinds(self, connection: Connection) -> None:
        added = [{"id": number, **kind._asdict()} for number, kind in self._kinds.added()]
        if added:
            connection.execute(kinds.insert(), added)

    def _insert(self, connection: Connection, rows: list[tuple[object, ...]]) -> None:
        if not self._database.is_postgresql:
            connection.exec_driver_sql(_INSERT_RECORD, rows)
            return
        where = _COLUMNS.index("time_s")
        days = {int(row[where] // rollups.DAY_S) for row in rows if isinstance(row[where], float)}  # type: ignore[operator]
        make_days(connection, days - self._days)
        self._days.update(days)
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(_COPY_RECORDS) as copy:
            for row in rows:
                copy.write_row(row)


def _row(
    number: int, kind_number: int, record: ActivityRecord, kind: RecordKind, counted: rollups.Counted
) -> tuple[object, ...]:
    tenant = facet_of(record, "tenant")
    return (
        number,
        record.id,
        record.time_s,
        kind_number,
        record.conversation,
        record.model if kind.model == OTHERS else None,
        tenant if kind.tenant == OTHERS else None,
        *counted[_SUMS_FAILED + 1 :],
        _ENCODE(record),
    )


def _counters(connection: Connection) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.exec_driver_sql("SELECT name, value FROM counters")}


def set_counter(connection: Connection, name: str, value: int) -> None:
    """Write one of `tables.counters`."""
    connection.execute(
        text(
            "INSERT INTO counters (name, value) VALUES (:name, :value)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        ),
        {"name": name, "value": value},
    )


def make_days(connection: Connection, days: Iterable[int]) -> None:
    """Make the partitions of PostgreSQL for these days, counted from the beginning of 1970, where they are missing."""
    for day in sorted(days):
        begin = day * rollups.DAY_S
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {partition_of(day)} PARTITION OF records"
            f" FOR VALUES FROM ({begin}) TO ({begin + rollups.DAY_S})"
        )


def partition_of(day: int) -> str:
    """Its name."""
    return f"records_day_{day}"


def day_of(partition: str) -> int:
    """The other way round."""
    return int(partition.rpartition("_")[2])
