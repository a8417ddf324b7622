"""`tables.py` says what the migrations make, and what an earlier version kept stays."""

from sqlalchemy import Connection, inspect, text
from tests.activity.store.answers import T0, one
from tests.activity.store.conftest import Open

from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.tables import METADATA
from limpet_extproc.contract.activity import VERSION, ActivityBatch


def test_tables_are_what_the_migrations_make(open_store: Open) -> None:
    engine = open_store()._database.engine
    found = inspect(engine)
    for table in METADATA.sorted_tables:
        columns = [(each["name"], each["nullable"]) for each in found.get_columns(table.name)]
        assert columns == [(each.name, bool(each.nullable)) for each in table.columns], table.name
        indexes = {each["name"]: each["column_names"] for each in found.get_indexes(table.name)}
        for index in table.indexes:
            assert indexes[index.name] == [each.name for each in index.columns]
    made = {name for name in found.get_table_names() if not name.startswith("records_day_")}
    assert made == {*METADATA.tables, "alembic_version"}


def as_revision_2(connection: Connection) -> None:
    """Give tables and columns the names that they had."""
    for statement in (
        "DROP INDEX combinations_by_grouping_set",
        "DROP INDEX records_by_combination",
        "ALTER TABLE rollups RENAME COLUMN combination TO kind",
        "ALTER TABLE records RENAME COLUMN combination TO kind",
        "ALTER TABLE combinations RENAME COLUMN grouping_set TO cut",
        "ALTER TABLE combinations RENAME TO kinds",
        "CREATE INDEX kinds_by_cut ON kinds (cut)",
        "CREATE INDEX records_by_kind ON records (kind, time_s)",
        "UPDATE alembic_version SET version_num = '0002'",
    ):
        connection.execute(text(statement))


def test_what_was_kept_before_the_names_changed_is_found(open_store: Open) -> None:
    store = open_store()
    first, second = one(1, -90, model="alpha"), one(2, -1, model="beta")
    store.take([ActivityBatch(VERSION, "gw", 0, 0, T0, [first], (), T0)], T0)
    with store._database.engine.begin() as connection:
        as_revision_2(connection)
    store.close()
    store.prepare()
    # Known, and new in the same hours.
    assert store.take([ActivityBatch(VERSION, "gw", 0, 0, T0, [first, second], (), T0)], T0) == 1
    assert [each.id for each in store.page(ActivityFilter(model="alpha"), None, 9).records] == [first.id]
    assert [each.id for each in store.page(ActivityFilter(), None, 9).records] == [second.id, first.id]
    assert {each.value: each.sums.requests for each in store.groups(ActivityFilter(), "model", 9)} == {
        "alpha": 1,
        "beta": 1,
    }
