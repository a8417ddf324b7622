"""Pages of records, the newest first, and those that follow: by key, so that the thousandth is as quick as the first.

With a filter, the roll-ups tell in which hours there are records that it means, and of which kinds: so a page never
reads its way through millions that it does not show.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, text

from limpet_activity.store.adding import what_is_asked
from limpet_activity.store.asked import TableQuestion
from limpet_activity.store.databases import Database
from limpet_activity.store.port import ActivityFilter, Page, Position
from limpet_activity.store.rollups import DAY_S, HOUR_S, LATEST_S
from limpet_extproc.contract.activity import ActivityRecord

_DECODE: Final = msgspec.msgpack.Decoder(ActivityRecord).decode

_MOST_SORTED: Final = 20_000
"""Records of some kinds that are found by these and then sorted; more of them are soon met going by time."""

_NEWEST: Final = " ORDER BY records.time_s DESC, records.id DESC LIMIT :limit"
_OLDEST: Final = " ORDER BY records.time_s, records.id LIMIT :limit"
_OLDER: Final = "(records.time_s < :time OR (records.time_s = :time AND records.id < :id)) AND records.time_s <= :time"
_NEWER: Final = "(records.time_s > :time OR (records.time_s = :time AND records.id > :id)) AND records.time_s >= :time"


class _Window(NamedTuple):
    """A span of time in which there are records of these kinds."""

    begin_s: float
    end_s: float
    kinds: Sequence[int]
    records: int


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
    found: list[ActivityRecord] = []
    for window in _windows(connection, what, begin_s, end_s, way):
        found += _read(connection, database, what, window, way._replace(wanted=way.wanted - len(found)))
        if len(found) >= way.wanted:
            break
    shown, more = found[:limit], len(found) > limit
    if newer_than is not None:
        shown.reverse()
        return Page(shown, _position(shown[-1:]), _position(shown[:1] if more else ()))
    return Page(shown, _position(shown[-1:] if more else ()), _position(shown[:1] if older_than else ()))


def _position(records: Sequence[ActivityRecord]) -> Position | None:
    return Position(records[0].time_s, records[0].id) if records else None


def _windows(connection: Connection, what: TableQuestion, begin_s: float, end_s: float, way: _Way) -> Iterator[_Window]:
    """Spans of time that have all that is meant, in the order in which they are to be read."""
    if way.position is not None and way.back:
        end_s = min(end_s, way.position.time_s + HOUR_S)
    elif way.position is not None:
        begin_s = max(begin_s, way.position.time_s)
    if what.of_records or not what.of_kinds:
        yield _Window(begin_s, end_s, (), 0)
        return
    for first, after in _bunches(_days(connection, what, begin_s, end_s), DAY_S, way):
        hours: dict[int, list[tuple[int, int]]] = {}
        for row in _kinds_by_hour(connection, what, max(first, begin_s), min(after, end_s)):
            hours.setdefault(row.begin, []).append((row.kind, int(row.requests)))
        counts = {begin: sum(count for _, count in rows) for begin, rows in hours.items()}
        for begin, end in _bunches(counts, HOUR_S, way):
            rows = [row for hour, found in hours.items() if begin <= hour < end for row in found]
            numbers = sorted({kind for kind, _ in rows})
            yield _Window(max(begin, begin_s), min(end, end_s), numbers, sum(count for _, count in rows))


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


def _days(connection: Connection, what: TableQuestion, begin_s: float, end_s: float) -> dict[int, int]:
    """How many there are in each day that has any."""
    statement = _rollups(what, "rollups.begin AS begin, sum(rollups.requests) AS requests") + " GROUP BY 1"
    rows = connection.execute(text(statement), _values(what, DAY_S, begin_s, end_s))
    return {row.begin: int(row.requests) for row in rows}


def _kinds_by_hour(
    connection: Connection, what: TableQuestion, begin_s: float, end_s: float
) -> Sequence[Row[tuple[int, int, int]]]:
    return connection.execute(
        text(_rollups(what, "rollups.begin AS begin, rollups.kind AS kind, rollups.requests AS requests")),
        _values(what, HOUR_S, begin_s, end_s),
    ).all()


def _rollups(what: TableQuestion, columns: str) -> str:
    return (
        f"SELECT {columns} FROM kinds CROSS JOIN rollups WHERE rollups.kind = kinds.id AND kinds.cut = 'full'"
        f" AND rollups.grain = :grain AND rollups.begin >= :begin AND rollups.begin < :end"
        f" AND {' AND '.join(what.of_kinds)}"
    )


def _values(what: TableQuestion, grain: int, begin_s: float, end_s: float) -> dict[str, object]:
    # A step that has begun before the span may have records in it.
    return {**what.values, "grain": grain, "begin": int(begin_s // grain) * grain, "end": -int(-end_s // grain) * grain}


def _read(
    connection: Connection, database: Database, what: TableQuestion, window: _Window, way: _Way
) -> list[ActivityRecord]:
    conditions = ["records.time_s >= :begin", "records.time_s < :end", *what.of_records]
    values: dict[str, object] = {"begin": window.begin_s, "end": window.end_s, "limit": way.wanted}
    index = what.index or "records_by_time"
    tables = ""
    if window.kinds:
        conditions.append(database.among("records.kind", "kinds"))
        values["kinds"] = database.numbers(window.kinds)
        if window.records <= _MOST_SORTED:
            index = "records_by_kind"
    elif what.of_kinds:
        tables = " CROSS JOIN kinds"
        conditions += ["kinds.id = records.kind", *what.of_kinds]
    if way.position is not None:
        conditions.append(_OLDER if way.back else _NEWER)
        values |= {"time": way.position.time_s, "id": way.position.id}
    where, order = " AND ".join(conditions), _NEWEST if way.back else _OLDEST
    wanted = {name: value for name, value in what.values.items() if f":{name}" in where}
    statement = f"SELECT records.record FROM records {database.by(index)}{tables} WHERE {where}{order}"
    return [_DECODE(row) for row in connection.execute(text(statement), values | wanted).scalars()]


def taken_after(
    connection: Connection, what: TableQuestion, which: ActivityFilter, number: int, limit: int
) -> tuple[list[ActivityRecord], int]:
    """Those taken in after this number, the oldest first, and the number of the last one that was looked at."""
    last = last_number(connection)
    conditions = ["records.number > :number", "records.number <= :last", "kinds.id = records.kind"]
    conditions += [*what.of_kinds, *what.of_records]
    spans = (("records.time_s >= :since", which.since_s), ("records.time_s < :until", which.until_s))
    conditions += [condition for condition, value in spans if value is not None]
    statement = (
        "SELECT records.record, records.number FROM records CROSS JOIN kinds"
        f" WHERE {' AND '.join(conditions)} ORDER BY records.number LIMIT :limit"
    )
    values: dict[str, object] = {**what.values, "number": number, "last": last, "limit": limit}
    values |= {name: value for name, value in (("since", which.since_s), ("until", which.until_s)) if value is not None}
    rows = connection.execute(text(statement), values).all()
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
