"""`tables.py` says what the migrations make."""

from sqlalchemy import inspect
from tests.activity.store.conftest import Open

from limpet_activity.store.tables import METADATA


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
