"""How new records get into the tables: with their combinations and what they add up to, in one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Connection, Float, Integer, LargeBinary, Text, select, text

from limpet_activity.store import rollups
from limpet_activity.store.combinations import Combination, KnownCombinations, combination_of, others_of
from limpet_activity.store.databases import Database
from limpet_activity.store.facts import OTHERS, Counted, counted
from limpet_activity.store.port import Facet
from limpet_activity.store.tables import ROLLED_UP, WHOLE, combinations, records
from limpet_extproc.contract.activity import ActivityRecord

_ENCODE: Final = msgspec.msgpack.Encoder().encode

REMOVED_UNTIL: Final = "removed_until"
"""The counter that says until when all records have been removed because of their size; Unix seconds."""
_RETRIED_S: Final = 3_600.0
"""A batch that comes again may have other times, where a clock is far off: see `validation.shift_s`."""
_SUMS_FAILED: Final = 1
"""Where `port.Sums` has `failed`, which is a part of the combination."""

_NONE: Final[Mapping[Facet, str]] = {}

_COLUMNS: Final = tuple(column.name for column in records.columns)
_INSERT_RECORD: Final = f"INSERT INTO records ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_COPY_RECORDS: Final = f"COPY records ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_COPIED_TYPES: Final = tuple(
    {BigInteger: "int8", Integer: "int4", Float: "float8", Text: "text", LargeBinary: "bytea"}[type(column.type)]
    for column in records.columns
)

_TO_ROLLUPS: Final = f"INSERT INTO rollups (combination, grain, begin, {', '.join(ROLLED_UP)})"
_ADDED: Final = " ON CONFLICT (combination, grain, begin) DO UPDATE SET " + ", ".join(
    f"{name} = rollups.{name} + excluded.{name}" for name in ROLLED_UP
)
_ADD_UP: Final = f"{_TO_ROLLUPS} VALUES ({', '.join('?' * (3 + len(ROLLED_UP)))}){_ADDED}"
_ARRAYS: Final = ("int", "int", "bigint", *("bigint" if name in WHOLE else "float8" for name in ROLLED_UP))
_ADD_UP_ARRAYS: Final = f"{_TO_ROLLUPS} SELECT * FROM unnest({', '.join(f'%s::{each}[]' for each in _ARRAYS)}){_ADDED}"


class Written(NamedTuple):
    """What became of some records."""

    new: list[ActivityRecord]
    too_old: int
    """Older than what has been removed for its size: whether they were among that is not known any more."""


class RecordWriter:
    """Writes records of one process; it knows the combinations that are in the database. Not thread-safe."""

    def __init__(self, database: Database, known: Callable[[], KnownCombinations] = KnownCombinations) -> None:
        self._database: Final = database
        self._combinations: Final = known()
        self._removed = -1
        self._days: Final[set[int]] = set()

    def write(self, connection: Connection, found: Sequence[ActivityRecord]) -> Written:
        """Write those that are not there yet; each id is there once. The transaction is one of `Database.write`.

        Call `forget` if the transaction does not end well.
        """
        counters = read_counters(connection)
        unknown = self._without_known(connection, found)
        removed_until = counters.get(REMOVED_UNTIL, 0)
        new = [record for record in unknown if record.time_s >= removed_until]
        too_old = len(unknown) - len(new)
        if not new:
            return Written([], too_old)
        self._load_combinations(connection, counters.get("removals", 0))
        number = counters.get("number", 0)
        rows, added = [], []
        for record in new:
            number += 1
            combination = self._combinations.fitted(combination_of(record))
            numbered, counts = self._combinations.numbers(combination), counted(record)
            added.append((numbered, record.time_s, counts))
            rows.append(_row(number, numbered.full, record, combination, counts))
        sums = rollups.rolled_up(added, kept_rollups(counters))
        adding = [(*spot, counts[0], *counts[_SUMS_FAILED + 1 :]) for spot, counts in sums.items()]
        # In one order, so that pages of the index are touched once; and combinations that this has numbered come first.
        adding.sort()
        self._insert_combinations(connection)
        self._insert(connection, rows)
        self._add_up(connection, adding)
        set_counter(connection, "number", number)
        return Written(new, too_old)

    def forget(self) -> None:
        """What was last written is not in the database, or that is not known."""
        self._combinations.clear()
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

    def _load_combinations(self, connection: Connection, removed: int) -> None:
        if removed != self._removed:
            self._combinations.clear()
            self._days.clear()
            self._removed = removed
        rows = connection.execute(
            select(combinations).where(combinations.c.id > self._combinations.last).order_by(combinations.c.id)
        )
        self._combinations.load((row[0], Combination(*row[1:])) for row in rows)

    def _add_up(self, connection: Connection, rows: list[tuple[float, ...]]) -> None:
        if self._database.is_postgresql:
            # One statement for all: each has its round of planning and locking otherwise.
            connection.exec_driver_sql(_ADD_UP_ARRAYS, tuple(map(_array, zip(*rows, strict=True))))
        else:
            connection.exec_driver_sql(_ADD_UP, rows)

    def _insert_combinations(self, connection: Connection) -> None:
        added = [{"id": number, **combination._asdict()} for number, combination in self._combinations.added()]
        if added:
            connection.execute(combinations.insert(), added)

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
            copy.set_types(_COPIED_TYPES)
            for row in rows:
                copy.write_row(row)


def _array(numbers: Iterable[float]) -> str:
    """As PostgreSQL writes arrays; the driver looks at each element by itself, which takes far longer."""
    return f"{{{','.join(map(repr, numbers))}}}"


def _row(
    number: int, combination_number: int, record: ActivityRecord, combination: Combination, counts: Counted
) -> tuple[object, ...]:
    others = others_of(record, combination) if OTHERS in combination else _NONE
    return (
        number,
        record.id,
        record.time_s,
        combination_number,
        record.conversation,
        others.get("model"),
        others.get("tenant"),
        *counts[_SUMS_FAILED + 1 :],
        _ENCODE(record),
        others.get("provider"),
        others.get("reason"),
        others.get("cause"),
        others.get("gateway"),
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
