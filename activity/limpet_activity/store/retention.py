"""What becomes too old or too much: removed in small steps, so that records can be taken in between."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from limpet_activity.store.databases import Database
from limpet_activity.store.rollups import DAY_S, GRAINS, HOUR_S, LATEST_S, MINUTE_S, MINUTES_KEPT_S
from limpet_activity.store.tables import ROLLED_UP
from limpet_activity.store.writing import REMOVED_UNTIL, day_of, make_days, partition_of, read_counters, set_counter

_STEP: Final = 2_000
"""Rows that are removed at once."""
_PAGES: Final = 2_000
"""Of SQLite's file, given back at once."""
_LOCKED: Final = "55P03"
"""PostgreSQL's lock_not_available."""
_AHEAD: Final = 2
"""Days whose partitions are made before they begin."""
_JUMP_S: Final = DAY_S
_SURE_S: Final = 3_600
"""A clock that is suddenly more than that ahead is believed after so long: what is removed does not come back."""
_LOCK_MS: Final = 200
"""How long a removal waits for those who read, while everybody who comes later waits behind it."""
_NEWEST_S: Final = 3_600
"""What stays, whatever the size: else each record would be removed as soon as it has come."""
_SHRINKING: Final = "shrinking"
"""The counter that is 1 while records go because of their size."""
_SHRUNK_TO: Final = 0.9
"""Of the size that is allowed: else every minute would have a little to remove."""
_SWEPT: Final = "swept"
"""The counter that says for which days sums and combinations were swept last; 0: records were removed since."""
_UNSEEN_S: Final = DAY_S
"""After which a provider that no gateway reports is forgotten."""


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """What is kept."""

    days: float = 30.0
    max_bytes: int | None = None
    """None: as much as the disk holds."""


def tidy(connection: Connection, database: Database, limits: KeepLimits, now_s: float) -> bool:
    """Remove some of what is not to be kept; whether there may be more. In a transaction of `write`."""
    if not _believe(connection, now_s):
        return False
    from_day = int((now_s - limits.days * DAY_S) // DAY_S)
    if database.is_postgresql:
        today = int(now_s // DAY_S)
        make_days(connection, range(today, today + _AHEAD + 1))
    if _add_up_days(connection, database, now_s):
        return True
    if _remove_records(connection, database, from_day, limits, now_s):
        set_counter(connection, _SWEPT, 0)
        return True
    if _remove_rollups(connection, database, from_day, now_s):
        return True
    _remove_reports(connection, from_day, now_s)
    return False


def _remove_records(
    connection: Connection, database: Database, from_day: int, limits: KeepLimits, now_s: float
) -> bool:
    too_much = limits.max_bytes is not None and _too_much(connection, database, limits.max_bytes)
    if too_much and _delete_sums(connection, database):
        return True
    if database.is_postgresql:
        removed = _drop_days(connection, from_day, too_much=too_much, today=int(now_s // DAY_S))
    else:
        removed = _delete_oldest(connection, from_day * DAY_S)
        if not removed and too_much:
            removed = _delete_oldest(connection, now_s - _NEWEST_S, for_size=True)
    if too_much and not removed:
        set_counter(connection, _SHRINKING, 0)  # There is nothing left that may go.
    return removed


def _too_much(connection: Connection, database: Database, max_bytes: int) -> bool:
    """Whether it is larger than it may be, or has been and is not yet so much smaller that it pays to have removed."""
    size, was_shrinking = database.size_bytes(connection), read_counters(connection).get(_SHRINKING, 0)
    if database.is_postgresql:
        return size > max_bytes  # It removes whole days anyway.
    shrinking = size > (max_bytes * _SHRUNK_TO if was_shrinking else max_bytes)
    if shrinking != bool(was_shrinking):
        set_counter(connection, _SHRINKING, int(shrinking))
    return shrinking


def _believe(connection: Connection, now_s: float) -> bool:
    """Whether it may be that late. Remembers when it was asked last, and since when the clock is far ahead of that."""
    counters, now = read_counters(connection), int(now_s)
    last, ahead_since = counters.get("tidied", 0), counters.get("ahead_since", 0)
    if last and now > last + _JUMP_S:
        if not ahead_since or now < ahead_since:
            set_counter(connection, "ahead_since", now)
            return False
        if now < ahead_since + _SURE_S:
            return False
    set_counter(connection, "tidied", now)
    if ahead_since:
        set_counter(connection, "ahead_since", 0)
    return True


def _delete_sums(connection: Connection, database: Database) -> bool:
    """Some of those of days of which no record is kept any more, where there is too much."""
    oldest_s = connection.execute(text("SELECT min(time_s) FROM records")).scalar()
    before = int(oldest_s // DAY_S) * DAY_S if oldest_s is not None else int(LATEST_S)
    return any(_delete_rollups(connection, database, grain, before) for grain in GRAINS)


def _delete_oldest(connection: Connection, before_s: float, *, for_size: bool = False) -> bool:
    oldest = "SELECT number, time_s FROM records WHERE time_s < :before ORDER BY time_s LIMIT :most"
    values = {"before": before_s, "most": _STEP}
    if for_size:
        latest_s = connection.execute(text(f"SELECT max(time_s) FROM ({oldest})"), values).scalar()
        _keep_none_before(connection, latest_s)
    statement = text(f"DELETE FROM records WHERE number IN (SELECT number FROM ({oldest}))")
    return connection.execute(statement, values).rowcount > 0


def _keep_none_before(connection: Connection, time_s: float | None) -> None:
    """Sums of what goes for its size stay, so the same must not be taken in, and counted, once more."""
    if time_s is not None and time_s > read_counters(connection).get(REMOVED_UNTIL, 0):
        set_counter(connection, REMOVED_UNTIL, ceil(time_s))


def _drop_days(connection: Connection, from_day: int, *, too_much: bool, today: int) -> bool:
    names = connection.exec_driver_sql(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'records'::regclass"
    ).scalars()
    days = sorted(map(day_of, names))
    too_old = [day for day in days if day < from_day]
    gone = [
        day for day in too_old or [day for day in days[:1] if too_much and day < today - 1] if _drop(connection, day)
    ]
    if gone and not too_old:
        _keep_none_before(connection, (gone[-1] + 1) * DAY_S)
    if gone:
        _tell_of_removal(connection)
    return bool(gone)


def _drop(connection: Connection, day: int) -> bool:
    """Whether that was possible now: somebody may read for long, as a backup does."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_MS}")
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"DROP TABLE {partition_of(day)}")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", "") != _LOCKED:
            raise
        return False
    return True


def _tell_of_removal(connection: Connection) -> None:
    """Every process that writes remembers combinations and days, and has to look again."""
    set_counter(connection, "removals", read_counters(connection).get("removals", 0) + 1)


_LATE_S: Final = 3600
"""After the end of a day most of its records have come; those that come later are added."""


def _add_up_days(connection: Connection, database: Database, now_s: float) -> bool:
    """Roll up full combinations by day, for one day that is over; whether there may be more."""
    until = int((now_s - _LATE_S) // DAY_S) * DAY_S
    known = read_counters(connection).get("days_until", 0)
    if until <= known:
        return False
    first = connection.execute(text("SELECT min(time_s) FROM records")).scalar()
    day = until if first is None else max(known, int(first // DAY_S) * DAY_S)
    if day < until:
        statement = (
            f"INSERT INTO rollups (combination, grain, begin, {', '.join(ROLLED_UP)})"
            f" SELECT rollups.combination, {DAY_S}, :begin, {', '.join(f'sum(rollups.{name})' for name in ROLLED_UP)}"
            f" FROM {database.combinations_and_sums} WHERE combinations.grouping_set = 'full'"
            " GROUP BY rollups.combination"
        )
        connection.execute(text(statement), {"grain": HOUR_S, "begin": day, "end": day + DAY_S})
        set_counter(connection, "days_until", day + DAY_S)
        return True
    set_counter(connection, "days_until", until)
    return False


def _remove_rollups(connection: Connection, database: Database, from_day: int, now_s: float) -> bool:
    minutes_from = int((now_s - MINUTES_KEPT_S) // DAY_S) * DAY_S
    known = read_counters(connection).get("minutes_from", 0)
    # One that is in the future comes from a clock that was ahead: from a day on that has no records yet, there are
    # minutes again.
    latest = int(now_s // DAY_S + _AHEAD) * DAY_S
    if known > latest:
        set_counter(connection, "minutes_from", latest)
        known = latest
    if minutes_from > known:
        set_counter(connection, "minutes_from", minutes_from)
        known = minutes_from
    begin = from_day * DAY_S
    # Whether there may be something to remove: it takes a look at every combination.
    due = begin + known
    if read_counters(connection).get(_SWEPT) == due:
        return False
    for grain, before in ((MINUTE_S, max(known, begin)), (HOUR_S, begin), (DAY_S, begin)):
        if _delete_rollups(connection, database, grain, before):
            return True
    _remove_combinations(connection)
    set_counter(connection, _SWEPT, due)
    return False


def _delete_rollups(connection: Connection, database: Database, grain: int, before: int) -> bool:
    statement = text(
        "DELETE FROM rollups WHERE (combination, grain, begin) IN"
        f" (SELECT rollups.combination, rollups.grain, rollups.begin FROM {database.combinations_and_sums} LIMIT :most)"
    )
    values = {"grain": grain, "begin": 0, "end": before, "most": _STEP}
    return connection.execute(statement, values).rowcount > 0


def _remove_reports(connection: Connection, from_day: int, now_s: float) -> None:
    begin_s = from_day * DAY_S
    connection.execute(text("DELETE FROM workers WHERE at_s < :begin"), {"begin": begin_s})
    unseen = {"unseen": now_s - _UNSEEN_S}
    connection.execute(
        text(
            "UPDATE verdicts SET end_s = (SELECT at_s FROM providers WHERE providers.provider = verdicts.provider"
            " AND providers.gateway = verdicts.gateway) WHERE end_s IS NULL AND EXISTS (SELECT 1 FROM providers"
            " WHERE providers.provider = verdicts.provider AND providers.gateway = verdicts.gateway AND at_s < :unseen)"
        ),
        unseen,
    )
    connection.execute(text("DELETE FROM providers WHERE at_s < :unseen"), unseen)
    connection.execute(text("DELETE FROM verdicts WHERE end_s < :begin"), {"begin": begin_s})


def _remove_combinations(connection: Connection) -> None:
    """Those that nothing is counted by any more, which makes room for others."""
    # A limit makes PostgreSQL look into an index for each combination; it would read all sums to join them otherwise.
    found = (
        f"(SELECT 1 FROM {table} WHERE {table}.combination = combinations.id LIMIT 1)"
        for table in ("rollups", "records")
    )
    statement = text(f"DELETE FROM combinations WHERE {' AND '.join(f'{each} IS NULL' for each in found)}")
    if connection.execute(statement).rowcount > 0:
        _tell_of_removal(connection)


def give_back(connection: Connection) -> None:
    """Return free pages of SQLite's file to the system. Outside of a transaction."""
    driver: Any = connection.connection.driver_connection
    driver.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # One step of it frees one page.
