"""Pages of records, the newest first, and those that follow: by key, so that the thousandth is as quick as the first.

With a filter, the roll-ups tell in which hours there are records that it means, and of which combinations: so a page
never reads its way through millions that it does not show.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import inf, nextafter
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, text

from limpet_activity.store.adding import what_is_asked
from limpet_activity.store.asked import RecordsQuestion, TableQuestion, used_in
from limpet_activity.store.databases import Database
from limpet_activity.store.port import ActivityFilter, Page, Position
from limpet_activity.store.rollups import DAY_S, HOUR_S, LATEST_S
from limpet_activity.store.writing import kept_rollups, read_counters
from limpet_extproc.contract.activity import ActivityRecord

_DECODE: Final = msgspec.msgpack.Decoder(ActivityRecord).decode

_MOST_MET: Final = 20_000
"""Records that are read by time to meet a page of what is meant; where it is rarer, they are found by combination."""

_NEWEST: Final = " ORDER BY records.time_s DESC, records.id DESC LIMIT :limit"
_OLDEST: Final = " ORDER BY records.time_s, records.id LIMIT :limit"
_OLDER: Final = "(records.time_s < :time OR (records.time_s = :time AND records.id < :id))"
_NEWER: Final = "(records.time_s > :time OR (records.time_s = :time AND records.id > :id))"


class _Window(NamedTuple):
    """A span of time in which there are so many records of what is meant; None: not known."""

    begin_s: float
    end_s: float
    records: int | None


class _Way(NamedTuple):
    """From where on records are read, and in which direction of time."""

    position: Position | None
    back: bool
    wanted: int


def page(
    connection: Connection,
    database: Database,
    which: ActivityFilter,
    older_than: Position | None,
    limit: int,
    newer_than: Position | None,
) -> Page:
    """The newest of them, those that follow, or those that come right before."""
    way = _Way(older_than if newer_than is None else newer_than, newer_than is None, limit + 1)
    what = what_is_asked(connection, which)
    begin_s = 0.0 if which.since_s is None else which.since_s
    end_s = LATEST_S if which.until_s is None else which.until_s
    whole = _Window(begin_s, end_s, None)
    if what.of_records:
        found = _read(connection, database, what.all, what.values, whole, way)
    else:
        found = _of_combinations(connection, database, what, whole, way)
    for others in what.others if not what.of_records else ():
        found += _read(connection, database, others, what.values, whole, way)
        # As in both queries: each has its nearest, so the nearest of all are among them.
        found.sort(key=_place, reverse=way.back)
    shown, more = found[:limit], len(found) > limit
    if newer_than is not None:
        shown.reverse()
        return Page(shown, _position(shown[-1:]), _position(shown[:1] if more else ()))
    return Page(shown, _position(shown[-1:] if more else ()), _position(shown[:1] if older_than else ()))


def _place(record: ActivityRecord) -> tuple[float, str]:
    return record.time_s, record.id


def _of_combinations(
    connection: Connection, database: Database, what: TableQuestion, whole: _Window, way: _Way
) -> list[ActivityRecord]:
    """Those that their combinations tell."""
    found: list[ActivityRecord] = []
    for window in _windows(connection, database, what, whole.begin_s, whole.end_s, way):
        left = way._replace(wanted=way.wanted - len(found))
        total = 0 if window.records is None else _total(connection, database, window)
        if window.records is not None and total * left.wanted > _MOST_MET * window.records:
            combinations = database.numbers(_combinations(connection, database, what, window))
            by_combination = RecordsQuestion(
                (), (database.among("records.combination", "combinations"),), "records_by_combination"
            )
            found += _read(connection, database, by_combination, {"combinations": combinations}, window, left)
        else:
            found += _read(connection, database, RecordsQuestion(what.of_combinations, ()), what.values, window, left)
        if len(found) >= way.wanted:
            break
    return found


def _position(records: Sequence[ActivityRecord]) -> Position | None:
    return Position(records[0].time_s, records[0].id) if records else None


def _windows(
    connection: Connection, database: Database, what: TableQuestion, begin_s: float, end_s: float, way: _Way
) -> Iterator[_Window]:
    """Spans of time that have all that is meant, in the order in which they are to be read."""
    if way.position is not None and way.back:
        end_s = min(end_s, way.position.time_s + HOUR_S)
    elif way.position is not None:
        begin_s = max(begin_s, way.position.time_s)
    if not what.of_combinations:
        yield _Window(begin_s, end_s, None)
        return
    days = _days(connection, database, what, begin_s, end_s)
    for first, after in _bunches(days, DAY_S, way):
        hours = _counts(connection, database, what, what.grouping_set, HOUR_S, max(first, begin_s), min(after, end_s))
        for begin, end in _bunches(hours, HOUR_S, way):
            count = sum(hours[hour] for hour in hours if begin <= hour < end)
            yield _Window(max(begin, begin_s), min(end, end_s), count)


def _bunches(counts: Mapping[int, int], step: int, way: _Way) -> Iterator[tuple[int, int]]:
    """Neighbouring steps that together have as many records as are wanted: their begin and end, in reading order."""
    bunch: list[int] = []
    total = 0
    for begin in sorted(counts, reverse=way.back):
        bunch.append(begin)
        total += counts[begin]
        if total >= way.wanted:
            yield min(bunch), max(bunch) + step
            bunch, total = [], 0
    if bunch:
        yield min(bunch), max(bunch) + step


def _days(
    connection: Connection, database: Database, what: TableQuestion, begin_s: float, end_s: float
) -> dict[int, int]:
    """How many there are in each day that has any."""
    if what.grouping_set != "full":
        return _counts(connection, database, what, what.grouping_set, DAY_S, begin_s, end_s)
    # Those of full combinations are added up once the day is over.
    until_s = float(kept_rollups(read_counters(connection)).days_until_s)
    found = _counts(connection, database, what, "full", DAY_S, begin_s, min(end_s, until_s))
    return found | _counts(connection, database, what, "full", 0, max(begin_s, until_s), end_s)


def _counts(
    connection: Connection,
    database: Database,
    what: TableQuestion,
    grouping_set: str,
    grain: int,
    begin_s: float,
    end_s: float,
) -> dict[int, int]:
    """How many there are in each step that has any; 0 is days, added up from hours."""
    begin = f"rollups.begin - rollups.begin % {DAY_S}" if grain == 0 else "rollups.begin"
    source = f"{database.combinations_and_sums} WHERE combinations.grouping_set = :grouping_set{_all_of(what)}"
    statement = f"SELECT {begin}, sum(rollups.requests) FROM {source} GROUP BY 1"
    values = {**what.values, "grouping_set": grouping_set, **_steps(grain or HOUR_S, begin_s, end_s)}
    return {row[0]: int(row[1]) for row in connection.execute(text(statement), used_in(statement, values))}


def _total(connection: Connection, database: Database, window: _Window) -> int:
    """How many records there are in these hours, of whatever combination."""
    source = f"{database.combinations_and_sums} WHERE combinations.grouping_set = :grouping_set"
    statement = f"SELECT sum(rollups.requests) FROM {source}"
    values = {"grouping_set": "total", **_steps(HOUR_S, window.begin_s, window.end_s)}
    return int(connection.execute(text(statement), values).scalar() or 0)


def _combinations(connection: Connection, database: Database, what: TableQuestion, window: _Window) -> list[int]:
    """The full combinations of what is meant that there are in these hours."""
    source = f"{database.combinations_and_sums} WHERE combinations.grouping_set = :grouping_set{_all_of(what)}"
    statement = f"SELECT DISTINCT rollups.combination FROM {source}"
    values = {**what.values, "grouping_set": "full", **_steps(HOUR_S, window.begin_s, window.end_s)}
    return sorted(connection.execute(text(statement), used_in(statement, values)).scalars())


def _all_of(what: TableQuestion) -> str:
    return "".join(f" AND {condition}" for condition in what.of_combinations)


def _steps(grain: int, begin_s: float, end_s: float) -> dict[str, object]:
    """A step that has begun before the span may have records in it."""
    return {"grain": grain, "begin": int(begin_s // grain) * grain, "end": -int(-end_s // grain) * grain}


def _from(window: _Window, position: Position | None, *, back: bool) -> tuple[float, float]:
    """The part of a window that is not yet behind this position."""
    if position is None:
        return window.begin_s, window.end_s
    if back:
        return window.begin_s, min(window.end_s, nextafter(position.time_s, inf))
    return max(window.begin_s, position.time_s), window.end_s


def _read(
    connection: Connection,
    database: Database,
    what: RecordsQuestion,
    values: Mapping[str, object],
    window: _Window,
    way: _Way,
) -> list[ActivityRecord]:
    conditions = ["records.time_s >= :begin", "records.time_s < :end", *what.of_records]
    # An index is entered at one bound of each side, so the position has to be that bound.
    begin_s, end_s = _from(window, way.position, back=way.back)
    given = {**values, "begin": begin_s, "end": end_s, "limit": way.wanted}
    tables = ""
    if what.of_combinations:
        tables = " CROSS JOIN combinations"
        conditions += ["combinations.id = records.combination", *what.of_combinations]
    if way.position is not None:
        conditions.append(_OLDER if way.back else _NEWER)
        given |= {"time": way.position.time_s, "id": way.position.id}
    where, order = " AND ".join(conditions), _NEWEST if way.back else _OLDEST
    index = database.by(what.index or "records_by_time")
    statement = f"SELECT records.record FROM records {index}{tables} WHERE {where}{order}"
    return [_DECODE(row) for row in connection.execute(text(statement), used_in(statement, given)).scalars()]


def taken_after(
    connection: Connection, what: TableQuestion, which: ActivityFilter, number: int, limit: int
) -> tuple[list[ActivityRecord], int]:
    """Those taken in after this number, the oldest first, and the number of the last one that was looked at."""
    last = last_number(connection)
    conditions = ["records.number > :number", "records.number <= :last", "combinations.id = records.combination"]
    conditions += [*what.all.of_combinations, *what.all.of_records]
    spans = (("records.time_s >= :since", which.since_s), ("records.time_s < :until", which.until_s))
    conditions += [condition for condition, value in spans if value is not None]
    statement = (
        "SELECT records.record, records.number FROM records CROSS JOIN combinations"
        f" WHERE {' AND '.join(conditions)} ORDER BY records.number LIMIT :limit"
    )
    values = {**what.values, "number": number, "last": last, "limit": limit}
    values |= {"since": which.since_s, "until": which.until_s}
    rows = connection.execute(text(statement), used_in(statement, values)).all()
    records = [_DECODE(row[0]) for row in rows]
    return records, int(rows[-1][1]) if len(rows) == limit and rows else max(number, last)


def last_number(connection: Connection) -> int:
    """Of the record that was taken last."""
    return int(connection.execute(text("SELECT value FROM counters WHERE name = 'number'")).scalar() or 0)


def by_id(connection: Connection, record_id: str) -> ActivityRecord | None:
    """The one with this id."""
    found = connection.execute(text("SELECT record FROM records WHERE id = :id"), {"id": record_id}).scalar()
    return None if found is None else _DECODE(found)


def turns(connection: Connection, conversation: str, limit: int) -> list[ActivityRecord]:
    """The last requests of a conversation, the oldest first."""
    statement = text("SELECT record FROM records WHERE conversation = :conversation" + _NEWEST.replace("records.", ""))
    rows = connection.execute(statement, {"conversation": conversation, "limit": limit}).scalars()
    return [_DECODE(row) for row in rows][::-1]
