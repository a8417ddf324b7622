"""Values that a record's kind does not tell, as there was no room for them: of all that is filtered by."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ADDED = ("provider", "reason", "cause", "gateway")


def upgrade() -> None:
    """Add them."""
    text = 'TEXT COLLATE "C"' if op.get_bind().dialect.name == "postgresql" else "TEXT"
    for name in _ADDED:
        column = f"other_{name}"
        op.execute(f"ALTER TABLE records ADD COLUMN {column} {text}")
        op.execute(f"CREATE INDEX records_by_{column} ON records ({column}, time_s) WHERE {column} IS NOT NULL")
