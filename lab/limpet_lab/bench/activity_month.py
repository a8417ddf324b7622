"""A month of records in a store, quickly: one day is taken in as ever, and the others are copies of it in the database.

A copy is whole days later, so it has the same combinations, and the roll-ups that the store has made, each as much
later as its records. Ids and conversations are the copy's own, in columns and in the encoded record. Indexes are made
at last.
"""

import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection

from limpet_activity.store.databases import Database
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.rollups import MINUTE_S, MINUTES_KEPT_S
from limpet_activity.store.sql_store import SqlStore
from limpet_activity.store.tables import ROLLED_UP, records
from limpet_activity.store.writing import partition_of, set_counter
from limpet_extproc.contract.activity import ActivityRecord
from limpet_lab.bench.activity_rows import DAY_S, batches, day_of_records, few_records

DAYS: Final = 30
"""Whole ones, up to the beginning of today."""

_AT_ONCE: Final = 10
"""Batches in a transaction, as in `limpet_activity.intake`."""
_FEW: Final = (2.4, 11.6, 24.3)
"""When requests came that are like no other, in days of the month."""
_MINUTES_FROM: Final = DAYS - MINUTES_KEPT_S // DAY_S
"""The day from which roll-ups by minute are still there."""
_SETTLED_S: Final = 2 * 3600
"""After its end a day is rolled up as a whole."""
_CONNECTIONS: Final = 2

_ID_AT: Final = 5
_ID_LENGTH: Final = 32
_TIME_AT: Final = _ID_AT + _ID_LENGTH + 1
"""Where an encoded record has its id and its time, which are its first fields."""

_FLOAT64: Final = b"\xcb"
"""What MessagePack begins such a number with."""

_SAME: Final = ", ".join(
    column.name for column in records.columns if column.name not in ("number", "id", "time_s", "conversation", "record")
)
_TO: Final = f"(number, id, time_s, conversation, record, {_SAME})"
_MADE: Final = (
    "(SELECT '{day:02x}' || substr(id, 3) AS made_id,"
    " substr(conversation, {day} + 1) || substr(conversation, 1, {day}) AS made_conversation, {source}.* FROM {source}"
    " WHERE number <= {numbers_of_a_day} ORDER BY number) AS of_day"
)
"""Rows of the first day, with a copy's id and conversation; keys look like hashes, and turned around they still do."""
_COPY: Final = (
    f"INSERT INTO {{target}} {_TO} SELECT number + {{numbers}}, made_id, time_s + {{later}}, made_conversation,"
    f" {{record}}, {_SAME} FROM {_MADE}"
)
_SQLITE_RECORD: Final = "copied_record(record, made_id, time_s + {later}, conversation, made_conversation)"
_POSTGRESQL_RECORD: Final = (
    "overlay(overlay(overlay(record"
    f" PLACING convert_to(made_id, 'UTF8') FROM {_ID_AT + 1})"
    f" PLACING float8send(time_s + {{later}}) FROM {_TIME_AT + 1})"
    " PLACING convert_to(made_conversation, 'UTF8') FROM position(convert_to(conversation, 'UTF8') IN record))"
)
_ROLLUPS_COPY: Final = (
    f"INSERT INTO rollups (combination, grain, begin, {', '.join(ROLLED_UP)})"
    f" SELECT combination, grain, begin + {{later}}, {', '.join(ROLLED_UP)} FROM rollups"
    " WHERE begin >= {first} AND begin < {first} + 86400 AND grain >= {grain} ORDER BY combination, grain, begin"
)


def fill_month(store: SqlStore, database: Database, rows: int, now_s: float) -> int:
    """Keep about so many of the last days, and no more than those; how many they are. `database` is the store's."""
    first = int(now_s // DAY_S - DAYS) * DAY_S
    of_a_day = rows // DAYS
    _take(store, day_of_records(of_a_day, first), first + DAY_S)
    while store.tidy(KeepLimits(days=400), first + DAY_S + _SETTLED_S):
        pass
    (_copy_in_postgresql if database.is_postgresql else _copy_in_sqlite)(database, of_a_day, first)
    with database.engine.begin() as connection:
        _keep_books(connection, of_a_day, first, now_s)
    _take(store, few_records(first + day * DAY_S for day in _FEW), now_s)
    while store.tidy(KeepLimits(days=DAYS), now_s):
        pass
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # As autovacuum does it in time.
        if database.is_postgresql:
            connection.exec_driver_sql("SET statement_timeout = 0")
            for table in ("rollups", "combinations", *(partition_of(first // DAY_S + day) for day in range(DAYS))):
                connection.exec_driver_sql(f"VACUUM ANALYZE {table}")
    return of_a_day * DAYS + len(_FEW)


def _take(store: SqlStore, found: Iterable[ActivityRecord], now_s: float) -> None:
    source = batches(found)
    while group := list(islice(source, _AT_ONCE)):
        store.take_new(group, now_s)


def _keep_books(connection: Connection, of_a_day: int, first: int, now_s: float) -> None:
    """What `retention` and `writing` would have noted by now."""
    today = first + DAYS * DAY_S
    minutes_from = int((now_s - MINUTES_KEPT_S) // DAY_S) * DAY_S
    connection.exec_driver_sql(f"DELETE FROM rollups WHERE grain = 60 AND begin < {minutes_from}")
    counters = {"number": of_a_day * DAYS, "days_until": today, "minutes_from": minutes_from, "tidied": int(now_s)}
    for name, value in {**counters, "removals": 1_000}.items():
        set_counter(connection, name, value)


def _copy_of(source: str, target: str, record: str, day: int, of_a_day: int) -> str:
    """What copies the records of the first day to a later one."""
    later = day * DAY_S
    return _COPY.format(
        source=source,
        target=target,
        record=record.format(later=later),
        day=day,
        later=later,
        numbers=day * of_a_day,
        numbers_of_a_day=of_a_day,
    )


def _rollups_of(day: int, first: int) -> str:
    """What copies those of the first day to a later one; those by minute to the last days alone."""
    recent = day >= _MINUTES_FROM
    return _ROLLUPS_COPY.format(later=day * DAY_S, first=first, grain=60 if recent else 61)


def _copy_in_sqlite(database: Database, of_a_day: int, first: int) -> None:
    with database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        connection.detach()  # What is set here is for this connection alone.
        driver.create_function("copied_record", 5, _copied_record, deterministic=True)
        indexes = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'records'"
            " AND sql IS NOT NULL AND sql NOT LIKE '% WHERE %'"  # The others have no row of this month.
        ).all()
        connection.commit()
        driver.execute("PRAGMA synchronous = OFF")  # A file that a crash damages is filled anew.
        for name, _ in indexes:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        for day in range(1, DAYS):
            connection.exec_driver_sql(_copy_of("records", "records", _SQLITE_RECORD, day, of_a_day))
            connection.commit()
        _copy_rollups_in_sqlite(connection)
        connection.commit()
        for _, statement in indexes:
            connection.exec_driver_sql(statement)
            connection.commit()


def _copy_rollups_in_sqlite(connection: Connection) -> None:
    """All days at once, in the order of the table: day by day, each would touch every page of it."""
    columns = ", ".join(ROLLED_UP)
    keys = "combination INTEGER, grain INTEGER, begin INTEGER"
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE of_a_day ({keys}, {columns}, PRIMARY KEY (combination, grain, begin)) WITHOUT ROWID"
    )
    connection.exec_driver_sql("INSERT INTO of_a_day SELECT * FROM rollups ORDER BY combination, grain, begin")
    connection.exec_driver_sql("DELETE FROM rollups")
    connection.exec_driver_sql(
        f"WITH RECURSIVE days (day) AS (SELECT 0 UNION ALL SELECT day + 1 FROM days WHERE day < {DAYS - 1})"
        f" INSERT INTO rollups (combination, grain, begin, {columns})"
        f" SELECT r.combination, r.grain, r.begin + day * {DAY_S}, {columns}"
        " FROM (SELECT DISTINCT combination, grain FROM of_a_day) AS k CROSS JOIN days CROSS JOIN of_a_day AS r"
        " ON r.combination = k.combination AND r.grain = k.grain"
        f" WHERE r.grain > {MINUTE_S} OR day = 0 OR day >= {_MINUTES_FROM}"
    )
    connection.exec_driver_sql("DROP TABLE of_a_day")


def _copied_record(record: bytes, name: str, time_s: float, conversation: str, made: str) -> bytes:
    between = record[_TIME_AT + 8 :].replace(conversation.encode(), made.encode(), 1)
    return record[:_ID_AT] + name.encode() + _FLOAT64 + struct.pack(">d", time_s) + between


def _copy_in_postgresql(database: Database, of_a_day: int, first: int) -> None:
    source = partition_of(first // DAY_S)

    def copy(day: int) -> None:
        name, begin = partition_of(first // DAY_S + day), first + day * DAY_S
        with database.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")  # It was made ahead, and has nothing yet.
            connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE records INCLUDING DEFAULTS)")
            connection.exec_driver_sql(_copy_of(source, name, _POSTGRESQL_RECORD, day, of_a_day))
            connection.exec_driver_sql(
                f"ALTER TABLE records ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({begin + DAY_S})"
            )
            connection.exec_driver_sql(_rollups_of(day, first))

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(copy, range(1, DAYS)))
