"""Sums over what a filter means: from roll-ups, and from records where a span of time divides a roll-up."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import Connection, text

from limpet_activity.store import rollups
from limpet_activity.store.asked import RecordsQuestion, TableQuestion, asked, restricted_facets, used_in
from limpet_activity.store.combinations import GroupingSet
from limpet_activity.store.databases import Database
from limpet_activity.store.facts import OTHERS, added
from limpet_activity.store.port import ActivityFilter, Facet, Group, GroupStep, Step, Sums
from limpet_activity.store.tables import SUMMED
from limpet_activity.store.writing import kept_rollups, read_counters

_OF_ROLLUPS: Final = (
    "sum(rollups.requests), sum(CASE combinations.failed WHEN 1 THEN rollups.requests ELSE 0 END), "
    + ", ".join(f"sum(rollups.{name})" for name in SUMMED)
)
_OF_RECORDS: Final = "count(*), sum(combinations.failed), " + ", ".join(f"sum(records.{name})" for name in SUMMED)

_TYPES: Final = tuple(int if field.type is int else float for field in msgspec.structs.fields(Sums))
"""Databases give sums as numbers of other types, such as Decimal."""

_NOTHING: Final = Sums()


def sums(connection: Connection, database: Database, which: ActivityFilter) -> Sums:
    """Over all of them."""
    what = what_is_asked(connection, which)
    total = _NOTHING
    for _, part in _parts(connection, database, which, what, _Keys()):
        total = added(total, part)
    return total


def steps(connection: Connection, database: Database, which: ActivityFilter, step_s: int) -> list[Step]:
    """Over time, also where nothing was."""
    what = what_is_asked(connection, which)
    found: dict[int, Sums] = {}
    for (key,), part in _parts(connection, database, which, what, _Keys(step_s=step_s)):
        assert isinstance(key, int)
        found[key] = added(found.get(key, _NOTHING), part)
    if not found and (which.since_s is None or which.until_s is None):
        return []
    first = min(found) if which.since_s is None else int(which.since_s // step_s)
    after = max(found) + 1 if which.until_s is None else -int(-which.until_s // step_s)
    return [Step(float(index * step_s), found.get(index, _NOTHING)) for index in range(first, after)]


def group_steps(
    connection: Connection, database: Database, which: ActivityFilter, by: Facet, step_s: int
) -> list[GroupStep]:
    """Over time and by value, in this order, where something was."""
    what = what_is_asked(connection, which, by)
    found: dict[tuple[int, str], Sums] = {}
    for (at, value), part in _parts(connection, database, which, what, _Keys([f"combinations.{by}"], step_s)):
        key = int(at), str(value)
        found[key] = added(found.get(key, _NOTHING), part)
    return [GroupStep(value, float(at * step_s), found[at, value]) for at, value in sorted(found)]


def breakdown(
    connection: Connection, database: Database, which: ActivityFilter, facets: Sequence[Facet], limit: int
) -> dict[Facet, list[Group]]:
    """By the values of each; what is beyond the limit, and what has no combination of its own, is `(others)`.

    Facets that ask the same combinations are added up together.
    """
    by_grouping_set: dict[GroupingSet, list[tuple[Facet, TableQuestion]]] = {}
    for facet in facets:
        what = what_is_asked(connection, which, facet)
        by_grouping_set.setdefault(what.grouping_set, []).append((facet, what))
    found: dict[Facet, list[Group]] = {}
    for together in by_grouping_set.values():
        names, what = [facet for facet, _ in together], together[0][1]
        sums: dict[Facet, dict[str, Sums]] = {facet: {} for facet in names}
        for values, part in _parts(
            connection, database, which, what, _Keys([f"combinations.{name}" for name in names])
        ):
            for facet, value in zip(names, values, strict=True):
                of_facet = sums[facet]
                of_facet[str(value)] = added(of_facet.get(str(value), _NOTHING), part)
        found |= {facet: _groups(of_facet, limit) for facet, of_facet in sums.items()}
    return found


def _groups(found: dict[str, Sums], limit: int) -> list[Group]:
    others = found.pop(OTHERS, _NOTHING)
    ordered = sorted((Group(value, part) for value, part in found.items()), key=lambda g: (-g.sums.requests, g.value))
    for group in ordered[limit:]:
        others = added(others, group.sums)
    return [*ordered[:limit], *([Group(OTHERS, others)] if others.requests else ())]


def what_is_asked(connection: Connection, which: ActivityFilter, by: Facet | None = None) -> TableQuestion:
    """The filter in the words of these tables."""
    with_others = {name for name in restricted_facets(which) if _has_others(connection, name)}
    return asked(which, by, with_others)


def _has_others(connection: Connection, name: Facet) -> bool:
    """Whether there are combinations that do not tell this value of their records."""
    statement = text(f"SELECT 1 FROM combinations WHERE grouping_set = :grouping_set AND {name} = :others LIMIT 1")
    values = {"grouping_set": "asked" if name == "provider" else name, "others": OTHERS}
    return connection.execute(statement, values).first() is not None


class _Keys(NamedTuple):
    """By what sums are told apart: by step, if one is given, and then by values in SQL."""

    values: Sequence[str] = ()
    step_s: int | None = None


_KeyedSums: TypeAlias = tuple[Sequence[int | str], Sums]
"""What some records add up to, with their keys."""


def _parts(
    connection: Connection, database: Database, which: ActivityFilter, what: TableQuestion, keys: _Keys
) -> Iterator[_KeyedSums]:
    """What the parts of the span add up to."""
    whole = rollups.SpanPart(
        0, 0.0 if which.since_s is None else which.since_s, rollups.LATEST_S if which.until_s is None else which.until_s
    )
    if what.of_records:
        yield from _of_records(connection, database, what.all, what.values, whole, keys)
        return
    kept = kept_rollups(read_counters(connection))
    for part in rollups.parts(which.since_s, which.until_s, keys.step_s, kept, full=what.grouping_set == "full"):
        if part.grain:
            yield from _of_rollups(connection, database, what, part, keys)
        else:
            told = RecordsQuestion(what.of_combinations, ())
            yield from _of_records(connection, database, told, what.values, part, keys)
    for others in what.others:
        yield from _of_records(connection, database, others, what.values, whole, keys)


def _of_rollups(
    connection: Connection, database: Database, what: TableQuestion, part: rollups.SpanPart, keys: _Keys
) -> Iterator[_KeyedSums]:
    conditions = ["combinations.grouping_set = :grouping_set", *what.of_combinations]
    source = f"{database.combinations_and_sums} WHERE {' AND '.join(conditions)}"
    columns = [*(["rollups.begin / :step"] if keys.step_s else ()), *keys.values]
    span = {"grain": part.grain, "begin": int(part.begin_s), "end": int(part.end_s), "step": keys.step_s}
    return _added_up(
        connection, _OF_ROLLUPS, source, columns, {**what.values, "grouping_set": what.grouping_set, **span}
    )


def _of_records(
    connection: Connection,
    database: Database,
    what: RecordsQuestion,
    values: Mapping[str, object],
    part: rollups.SpanPart,
    keys: _Keys,
) -> Iterator[_KeyedSums]:
    conditions = [*what.of_records, *what.of_combinations, "combinations.id = records.combination"]
    conditions += ["records.time_s >= :begin", "records.time_s < :end"]
    index = database.by(what.index or "records_by_time")
    source = f"records {index} CROSS JOIN combinations WHERE {' AND '.join(conditions)}"
    columns = [*([database.step_of("records.time_s")] if keys.step_s else ()), *keys.values]
    span = {"begin": part.begin_s, "end": part.end_s, "step": keys.step_s}
    return _added_up(connection, _OF_RECORDS, source, columns, {**values, **span})


def _added_up(
    connection: Connection, numbers: str, source: str, columns: Sequence[str], values: Mapping[str, object]
) -> Iterator[_KeyedSums]:
    tail = f" GROUP BY {', '.join(str(at + 1) for at in range(len(columns)))}" if columns else ""
    statement = f"SELECT {', '.join((*columns, numbers))} FROM {source}{tail}"
    for row in connection.execute(text(statement), used_in(statement, values)):
        yield row[: len(columns)], _sums(row[len(columns) :])


def _sums(row: "tuple[float | None, ...]") -> Sums:
    return Sums(*(type_(number or 0) for type_, number in zip(_TYPES, row, strict=True)))  # type: ignore[arg-type]
