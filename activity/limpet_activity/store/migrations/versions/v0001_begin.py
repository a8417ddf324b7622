"""The first tables."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SUMMED = """
    prompt_tokens {whole} NOT NULL,
    cached_tokens {whole} NOT NULL,
    output_tokens {whole} NOT NULL,
    paid_usd {real} NOT NULL,
    uncached_usd {real} NOT NULL,
    spread_usd {real} NOT NULL,
    cheapest_usd {real} NOT NULL,
    unpriced {whole} NOT NULL,
    observed_usd {real} NOT NULL,
    observed_paid_usd {real} NOT NULL
"""

_RECORDS = (
    """
    CREATE TABLE records (
        number {whole} NOT NULL {number_key},
        id {text} NOT NULL,
        time_s {real} NOT NULL,
        kind INTEGER NOT NULL,
        conversation {text} NOT NULL,
        other_model {text},
        other_tenant {text},
        """
    + _SUMMED
    + """,
        record {bytes} NOT NULL
        {records_key}
    ) {records_by}
    """
)

_TABLES = (
    """
    CREATE TABLE kinds (
        id INTEGER NOT NULL PRIMARY KEY,
        cut {text} NOT NULL,
        provider {text} NOT NULL,
        tried {text} NOT NULL,
        model {text} NOT NULL,
        tenant {text} NOT NULL,
        reason {text} NOT NULL,
        cause {text} NOT NULL,
        gateway {text} NOT NULL,
        failed SMALLINT NOT NULL
    )
    """,
    """
    CREATE TABLE rollups (
        kind INTEGER NOT NULL,
        grain INTEGER NOT NULL,
        begin {whole} NOT NULL,
        requests {whole} NOT NULL,
        """
    + _SUMMED
    + """,
        PRIMARY KEY (kind, grain, begin)
    ) {rollups_by}
    """,
    "CREATE TABLE counters (name {text} NOT NULL PRIMARY KEY, value {whole} NOT NULL)",
    """
    CREATE TABLE workers (
        gateway {text} NOT NULL,
        worker INTEGER NOT NULL,
        started_s {real} NOT NULL,
        dropped {whole} NOT NULL,
        at_s {real} NOT NULL,
        PRIMARY KEY (gateway, worker, started_s)
    )
    """,
    """
    CREATE TABLE providers (
        provider {text} NOT NULL,
        gateway {text} NOT NULL,
        at_s {real} NOT NULL,
        report {bytes} NOT NULL,
        PRIMARY KEY (provider, gateway)
    )
    """,
    """
    CREATE TABLE verdicts (
        provider {text} NOT NULL,
        gateway {text} NOT NULL,
        begin_s {real} NOT NULL,
        verdict {text} NOT NULL,
        cause {text} NOT NULL,
        end_s {real},
        PRIMARY KEY (provider, gateway, begin_s)
    )
    """,
)

_INDEXES = (
    "CREATE INDEX kinds_by_cut ON kinds (cut)",
    "CREATE INDEX records_by_time ON records (time_s)",
    "CREATE INDEX records_by_kind ON records (kind, time_s)",
    "CREATE INDEX records_by_conversation ON records (conversation, time_s)",
    "CREATE INDEX records_by_other_model ON records (other_model, time_s) WHERE other_model IS NOT NULL",
    "CREATE INDEX records_by_other_tenant ON records (other_tenant, time_s) WHERE other_tenant IS NOT NULL",
)

_SQLITE = {
    "whole": "INTEGER",
    "real": "REAL",
    "text": "TEXT",
    "bytes": "BLOB",
    "number_key": "PRIMARY KEY",
    "records_key": "",
    "records_by": "",
    "rollups_by": "WITHOUT ROWID",
}
_POSTGRESQL = {
    "whole": "BIGINT",
    "real": "DOUBLE PRECISION",
    "text": 'TEXT COLLATE "C"',
    "bytes": "BYTEA",
    "number_key": "",
    "records_key": ", PRIMARY KEY (id, time_s)",
    "records_by": "PARTITION BY RANGE (time_s)",
    "rollups_by": "WITH (fillfactor = 70)",  # Its rows change all the time; without a new entry in the index.
}


def upgrade() -> None:
    """Make them."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    words = _POSTGRESQL if postgresql else _SQLITE
    for statement in (_RECORDS, *_TABLES, *_INDEXES):
        op.execute(statement.format(**words))
    only = (
        "CREATE INDEX records_by_number ON records (number)"
        if postgresql
        else "CREATE UNIQUE INDEX records_by_id ON records (id)"
    )
    op.execute(only)
