"""How new records get into the tables: with their kinds and what they add up to, in one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select, text

from limpet_activity.store import rollups
from limpet_activity.store.databases import Database
from limpet_activity.store.facts import OTHERS, facet_of
from limpet_activity.store.kinds import KnownKinds, RecordKind, kind_of
from limpet_activity.store.tables import ROLLED_UP, WHOLE, kinds, records
from limpet_extproc.contract.activity import ActivityRecord

_ENCODE: Final = msgspec.msgpack.Encoder().encode

_RETRIED_S: Final = 3_600.0
"""A batch that comes again may have other times, where a clock is far off: see `sound.shift_s`."""
_SUMS_FAILED: Final = 1
"""Where `port.Sums` has `failed`, which is a part of the kind."""

_COLUMNS: Final = tuple(column.name for column in records.columns)
_INSERT_RECORD: Final = f"INSERT INTO records ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_COPY_RECORDS: Final = f"COPY records ({', '.join(_COLUMNS)}) FROM STDIN"

_TO_ROLLUPS: Final = f"INSERT INTO rollups (kind, grain, begin, {', '.join(ROLLED_UP)})"
_ADDED: Final = " ON CONFLICT (kind, grain, begin) DO UPDATE SET " + ", ".join(
    f"{name} = rollups.{name} + excluded.{name}" for name in ROLLED_UP
)
_ADD_UP: Final = f"{_TO_ROLLUPS} VALUES ({', '.join('?' * (3 + len(ROLLED_UP)))}){_ADDED}"
_ARRAYS: Final = ("int", "int", "bigint", *("bigint" if name in WHOLE else "float8" for name in ROLLED_UP))
_ADD_UP_ARRAYS: Final = f"{_TO_ROLLUPS} SELECT * FROM unnest({', '.join(f'%s::{each}[]' for each in _ARRAYS)}){_ADDED}"


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
        counters = read_counters(connection)
        self._load_kinds(connection, counters.get("removals", 0))
        number = counters.get("number", 0)
        rows, added = [], []
        for record in new:
            number += 1
            full = kind_of(record)
            kind = self._kinds.fitted(full)
            counted = rollups.counted(record)
            added.append((kind, record.time_s, counted))
            rows.append(_row(number, self._kinds.number(kind), record, kind, counted))
        sums = rollups.rolled_up(added, kept_rollups(counters))
        adding = [self._addition(spot, numbers) for spot, numbers in sums.items()]
        # In one order, so that pages of the index are touched once; and the kinds that this has numbered come first.
        adding.sort()
        self._insert_kinds(connection)
        self._insert(connection, rows)
        self._add_up(connection, adding)
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
                "SELECT id FROM records WHERE id = ANY(%s) AND time_s BETWEEN %s AND %s",
                (ids, min(times) - _RETRIED_S, max(times) + _RETRIED_S),
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
            self._days.clear()
            self._removed = removed
        rows = connection.execute(select(kinds).where(kinds.c.id > self._kinds.last).order_by(kinds.c.id))
        self._kinds.load((row[0], RecordKind(*row[1:])) for row in rows)

    def _addition(self, spot: rollups.Spot, numbers: Sequence[float]) -> tuple[float, ...]:
        number = self._kinds.number(spot.kind)
        return (number, spot.grain, spot.begin, numbers[0], *numbers[_SUMS_FAILED + 1 :])

    def _add_up(self, connection: Connection, rows: list[tuple[float, ...]]) -> None:
        if self._database.is_postgresql:
            # One statement for all: each has its round of planning and locking otherwise.
            connection.exec_driver_sql(_ADD_UP_ARRAYS, tuple(map(list, zip(*rows, strict=True))))
        else:
            connection.exec_driver_sql(_ADD_UP, rows)

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


def read_counters(connection: Connection) -> dict[str, int]:
    """All of `tables.counters`."""
    return {row[0]: row[1] for row in connection.exec_driver_sql("SELECT name, value FROM counters")}


def kept_rollups(counters: Mapping[str, int]) -> rollups.Kept:
    """Which roll-ups there are."""
    return rollups.Kept(counters.get("minutes_from", 0), counters.get("days_until", 0))


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
        name, begin = partition_of(day), day * rollups.DAY_S
        if connection.exec_driver_sql("SELECT to_regclass(%s)", (name,)).scalar() is not None:
            continue
        # Attached, as to make it as a partition would wait for all who read, with everybody behind it.
        connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE records INCLUDING ALL)")
        connection.exec_driver_sql(
            f"ALTER TABLE records ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({begin + rollups.DAY_S})"
        )


def partition_of(day: int) -> str:
    """Its name."""
    return f"records_day_{day}"


def day_of(partition: str) -> int:
    """The other way round."""
    return int(partition.rpartition("_")[2])
