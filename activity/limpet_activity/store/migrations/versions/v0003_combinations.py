"""Names: what was a kind is a combination of values, and what was a cut of it a grouping set."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_RENAMED = (
    "ALTER TABLE kinds RENAME TO combinations",
    "ALTER TABLE combinations RENAME COLUMN cut TO grouping_set",
    "ALTER TABLE records RENAME COLUMN kind TO combination",
    "ALTER TABLE rollups RENAME COLUMN kind TO combination",
)
_INDEXES = (
    "ALTER INDEX kinds_by_cut RENAME TO combinations_by_grouping_set",
    "ALTER INDEX records_by_kind RENAME TO records_by_combination",
)
_NEW_INDEXES = (  # SQLite renames none.
    "DROP INDEX kinds_by_cut",
    "DROP INDEX records_by_kind",
    "CREATE INDEX combinations_by_grouping_set ON combinations (grouping_set)",
    "CREATE INDEX records_by_combination ON records (combination, time_s)",
)


def upgrade() -> None:
    """Give them."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in (*_RENAMED, *(_INDEXES if postgresql else _NEW_INDEXES)):
        op.execute(statement)
