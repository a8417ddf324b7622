"""Sums over what a filter means: from roll-ups, and from records where a span of time cuts through a roll-up."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, text

from limpet_activity.store import rollups
from limpet_activity.store.asked import TableQuestion, asked
from limpet_activity.store.databases import Database
from limpet_activity.store.facts import OTHERS, added
from limpet_activity.store.port import ActivityFilter, Facet, Group, GroupStep, Step, Sums
from limpet_activity.store.tables import SUMMED
from limpet_activity.store.writing import kept_rollups, read_counters

_OF_ROLLUPS: Final = (
    "sum(rollups.requests), sum(CASE kinds.failed WHEN 1 THEN rollups.requests ELSE 0 END), "
    + ", ".join(f"sum(rollups.{name})" for name in SUMMED)
)
_OF_RECORDS: Final = "count(*), sum(kinds.failed), " + ", ".join(f"sum(records.{name})" for name in SUMMED)

_KINDS: Final = tuple(int if field.type is int else float for field in msgspec.structs.fields(Sums))
"""Databases give sums as numbers of other kinds, such as Decimal."""

_NOTHING: Final = Sums()


def sums(connection: Connection, database: Database, which: ActivityFilter) -> Sums:
    """Over all of them."""
    total = _NOTHING
    for _, _, part in _parts(connection, database, which, by=None, step_s=None):
        total = added(total, part)
    return total


def steps(connection: Connection, database: Database, which: ActivityFilter, step_s: int) -> list[Step]:
    """Over time, also where nothing was."""
    found: dict[int, Sums] = {}
    for _, at, part in _parts(connection, database, which, by=None, step_s=step_s):
        found[at] = added(found.get(at, _NOTHING), part)
    if not found and (which.since_s is None or which.until_s is None):
        return []
    first = min(found) if which.since_s is None else int(which.since_s // step_s)
    after = max(found) + 1 if which.until_s is None else -int(-which.until_s // step_s)
    return [Step(float(index * step_s), found.get(index, _NOTHING)) for index in range(first, after)]


def groups(connection: Connection, database: Database, which: ActivityFilter, by: Facet, limit: int) -> list[Group]:
    """By value; what is beyond the limit, and what has no kind of its own, is `(others)`."""
    found: dict[str, Sums] = {}
    for value, _, part in _parts(connection, database, which, by=by, step_s=None):
        found[value] = added(found.get(value, _NOTHING), part)
    others = found.pop(OTHERS, _NOTHING)
    ordered = sorted((Group(value, part) for value, part in found.items()), key=lambda g: (-g.sums.requests, g.value))
    for group in ordered[limit:]:
        others = added(others, group.sums)
    return [*ordered[:limit], *([Group(OTHERS, others)] if others.requests else ())]


def group_steps(
    connection: Connection, database: Database, which: ActivityFilter, by: Facet, step_s: int
) -> list[GroupStep]:
    """Over time and by value, in this order, where something was."""
    found: dict[tuple[int, str], Sums] = {}
    for value, at, part in _parts(connection, database, which, by=by, step_s=step_s):
        found[at, value] = added(found.get((at, value), _NOTHING), part)
    return [GroupStep(value, float(at * step_s), found[at, value]) for at, value in sorted(found)]


def what_is_asked(connection: Connection, which: ActivityFilter, by: Facet | None = None) -> TableQuestion:
    """The filter in the words of these tables."""
    return asked(
        which,
        by,
        other_model=bool(which.model) and not _has_kind(connection, "model", which.model),
        other_tenant=bool(which.tenant) and not _has_kind(connection, "tenant", which.tenant),
    )


def _has_kind(connection: Connection, name: str, value: str) -> bool:
    statement = text(f"SELECT 1 FROM kinds WHERE cut = :cut AND {name} = :value LIMIT 1")
    return connection.execute(statement, {"cut": name, "value": value}).first() is not None


def _parts(
    connection: Connection, database: Database, which: ActivityFilter, by: Facet | None, step_s: int | None
) -> Iterator[tuple[str, int, Sums]]:
    """What each part of the span adds up to, by value and step where these are asked for, else for "" and 0."""
    what = what_is_asked(connection, which, by)
    if what.of_records:
        begin_s = 0.0 if which.since_s is None else which.since_s
        end_s = rollups.LATEST_S if which.until_s is None else which.until_s
        found = [rollups.SpanPart(0, begin_s, end_s)]
    else:
        kept = kept_rollups(read_counters(connection))
        found = list(rollups.parts(which.since_s, which.until_s, step_s, kept, full=what.cut == "full"))
    for part in found:
        yield from _part(connection, database, what, part, by, step_s)


def _part(
    connection: Connection,
    database: Database,
    what: TableQuestion,
    part: rollups.SpanPart,
    by: Facet | None,
    step_s: int | None,
) -> Iterator[tuple[str, int, Sums]]:
    value = f"kinds.{by}" if by else "''"
    conditions = list(what.of_kinds)
    values: dict[str, object] = {**what.values, "begin": part.begin_s, "end": part.end_s}
    if part.grain:
        # Kinds first: CROSS JOIN tells SQLite so.
        tables, numbers = "kinds CROSS JOIN rollups", _OF_ROLLUPS
        at = "rollups.begin / :step" if step_s else "0"
        conditions += ["rollups.kind = kinds.id", "kinds.cut = :cut", "rollups.grain = :grain"]
        conditions += ["rollups.begin >= :begin", "rollups.begin < :end"]
        values |= {"cut": what.cut, "grain": part.grain, "begin": int(part.begin_s), "end": int(part.end_s)}
    else:
        index = database.by(what.index or "records_by_time")
        tables, numbers = f"records {index} CROSS JOIN kinds", _OF_RECORDS
        at = database.step_of("records.time_s") if step_s else "0"
        conditions += ["kinds.id = records.kind", "records.time_s >= :begin", "records.time_s < :end"]
        conditions += what.of_records
    if step_s:
        values["step"] = step_s
    grouped = ", ".join(column for column, asked_for in (("1", by), ("2", step_s)) if asked_for)
    statement = f"SELECT {value}, {at}, {numbers} FROM {tables} WHERE {' AND '.join(conditions)}"
    if grouped:
        statement += f" GROUP BY {grouped}"
    for name, step, *row in connection.execute(text(statement), values):
        yield name, step, _sums(row)


def _sums(row: Sequence[float | None]) -> Sums:
    return Sums(*(kind(number or 0) for kind, number in zip(_KINDS, row, strict=True)))  # type: ignore[arg-type]
