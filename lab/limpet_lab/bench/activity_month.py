"""A month of records in a store, quickly: one day is taken in as ever, and the others are copies of it in the database.

A copy is whole days later, so it has the same kinds, and the roll-ups that the store has made, each as much later as
its records. Ids and conversations are the copy's own, in columns and in the encoded record. Indexes are made at last.
"""

import hashlib
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection

from limpet_activity.store.databases import Database
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.rollups import MINUTES_KEPT_S
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
_SETTLED_S: Final = 2 * 3600
"""After its end a day is rolled up as a whole."""
_CONNECTIONS: Final = 2

_ID_AT: Final = 5
_ID_LENGTH: Final = 32
_TIME_AT: Final = _ID_AT + _ID_LENGTH + 1
"""Where an encoded record has its id and its time, which are its first fields."""

_SAME: Final = ", ".join(
    column.name for column in records.columns if column.name not in ("number", "id", "time_s", "conversation", "record")
)
_TO: Final = f"(number, id, time_s, conversation, record, {_SAME})"
_SQLITE_COPY: Final = (
    f"INSERT INTO records {_TO} SELECT number + :numbers, copied_id(id, :day), time_s + :later,"
    " copied_name(conversation, :day), copied_record(record, id, time_s + :later, conversation, :day),"
    f" {_SAME} FROM records WHERE number <= :numbers_of_a_day"
)
_POSTGRESQL_COPY: Final = (
    f"INSERT INTO {{name}} {_TO} SELECT number + {{numbers}}, made.id, time_s + {{later}}, made.conversation,"
    " overlay(overlay(overlay(record"
    f" PLACING convert_to(made.id, 'UTF8') FROM {_ID_AT + 1})"
    f" PLACING float8send(time_s + {{later}}) FROM {_TIME_AT + 1})"
    " PLACING convert_to(made.conversation, 'UTF8') FROM position(convert_to(of_day.conversation, 'UTF8') IN record)),"
    f" {_SAME} FROM {{source}} AS of_day CROSS JOIN LATERAL (SELECT '{{day:02x}}' || substr(of_day.id, 3) AS id,"
    " md5(of_day.conversation || '{day}') AS conversation) AS made ORDER BY number"
)
_ROLLUPS_COPY: Final = (
    f"INSERT INTO rollups (kind, grain, begin, {', '.join(ROLLED_UP)})"
    f" SELECT kind, grain, begin + {{later}}, {', '.join(ROLLED_UP)} FROM rollups"
    " WHERE begin >= {first} AND begin < {first} + 86400 AND grain >= {grain} ORDER BY kind, grain, begin"
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
            for table in ("rollups", "kinds", *(partition_of(first // DAY_S + day) for day in range(DAYS))):
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


def _rollups_of(day: int, first: int) -> str:
    """What copies those of the first day to a later one; those by minute to the last days alone."""
    recent = day >= DAYS - MINUTES_KEPT_S // DAY_S
    return _ROLLUPS_COPY.format(later=day * DAY_S, first=first, grain=60 if recent else 61)


def _copy_in_sqlite(database: Database, of_a_day: int, first: int) -> None:
    with database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        for name, arguments, function in (
            ("copied_id", 2, _copied_id),
            ("copied_name", 2, _copied_name),
            ("copied_record", 5, _copied_record),
        ):
            driver.create_function(name, arguments, function, deterministic=True)
        indexes = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'records' AND sql IS NOT NULL"
        ).all()
        for name, _ in indexes:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        for day in range(1, DAYS):
            values = {"numbers": day * of_a_day, "numbers_of_a_day": of_a_day, "day": day, "later": day * DAY_S}
            connection.exec_driver_sql(_SQLITE_COPY, values)
            connection.exec_driver_sql(_rollups_of(day, first))
            connection.commit()
        for _, statement in indexes:
            connection.exec_driver_sql(statement)
        connection.commit()


def _copied_id(name: str, day: int) -> str:
    return f"{day:02x}{name[2:]}"


def _copied_name(name: str, day: int) -> str:
    return hashlib.md5(f"{name}{day}".encode(), usedforsecurity=False).hexdigest()


def _copied_record(record: bytes, name: str, time_s: float, conversation: str, day: int) -> bytes:
    between = record[_TIME_AT + 8 :].replace(conversation.encode(), _copied_name(conversation, day).encode(), 1)
    return record[:_ID_AT] + _copied_id(name, day).encode() + b"\xcb" + struct.pack(">d", time_s) + between


def _copy_in_postgresql(database: Database, of_a_day: int, first: int) -> None:
    source = partition_of(first // DAY_S)

    def copy(day: int) -> None:
        name, begin = partition_of(first // DAY_S + day), first + day * DAY_S
        words = {"name": name, "source": source, "numbers": day * of_a_day, "later": day * DAY_S, "day": day}
        with database.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")  # It was made ahead, and has nothing yet.
            connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE records INCLUDING DEFAULTS)")
            connection.exec_driver_sql(_POSTGRESQL_COPY.format(**words))
            connection.exec_driver_sql(
                f"ALTER TABLE records ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({begin + DAY_S})"
            )
            connection.exec_driver_sql(_rollups_of(day, first))

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(copy, range(1, DAYS)))
