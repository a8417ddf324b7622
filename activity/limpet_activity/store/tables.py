"""The tables of a store, alike in SQLite and PostgreSQL. `migrations/` makes them; docs/activity.md describes them.

A record refers to its *combination*: the values of all that it can be counted by. There are thousands of combinations
and millions of records, so a filter first finds combinations, and then what they have: sums in `rollups`, or records.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, Text

METADATA: Final = MetaData()

SUMMED: Final = (
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "paid_usd",
    "uncached_usd",
    "spread_usd",
    "cheapest_usd",
    "unpriced",
    "observed_usd",
    "observed_paid_usd",
)
"""Columns of records and roll-ups, named as in `port.Sums`. In a record: what it counts, 0 where it says nothing."""

WHOLE: Final = ("requests", "prompt_tokens", "cached_tokens", "output_tokens", "unpriced")
"""Of the columns of roll-ups: whole numbers; the others are dollars."""

ROLLED_UP: Final = ("requests", *SUMMED)
"""Columns of roll-ups that are added to."""

C_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared by bytes everywhere, as Python does."""


def _summed() -> "list[Column[float]]":
    return [Column(name, BigInteger if name in WHOLE else Float(53), nullable=False) for name in SUMMED]


combinations: Final = Table(
    "combinations",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("grouping_set", C_TEXT, nullable=False),
    Column("provider", C_TEXT, nullable=False),
    Column("tried", C_TEXT, nullable=False),
    Column("model", C_TEXT, nullable=False),
    Column("tenant", C_TEXT, nullable=False),
    Column("reason", C_TEXT, nullable=False),
    Column("cause", C_TEXT, nullable=False),
    Column("gateway", C_TEXT, nullable=False),
    Column("failed", SmallInteger, nullable=False),
)
"""See `combinations.Combination`."""

records: Final = Table(
    "records",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", C_TEXT, nullable=False),
    Column("time_s", Float(53), nullable=False),
    Column("combination", Integer, nullable=False),
    Column("conversation", C_TEXT, nullable=False),
    Column("other_model", C_TEXT),
    Column("other_tenant", C_TEXT),
    *_summed(),
    Column("record", LargeBinary, nullable=False),
    *(Column(f"other_{name}", C_TEXT) for name in ("provider", "reason", "cause", "gateway")),
)
"""One row a request. `record` is all of it; `other_…` what its combination has only as `(others)`, `other_provider`
with all that were tried. Days are partitions in PostgreSQL, where the primary key is (id, time_s)."""

BY_COMBINATION: Final = Index("records_by_combination", records.c.combination, records.c.time_s)
BY_TIME: Final = Index("records_by_time", records.c.time_s)
BY_CONVERSATION: Final = Index("records_by_conversation", records.c.conversation, records.c.time_s)

rollups: Final = Table(
    "rollups",
    METADATA,
    Column("combination", Integer, primary_key=True, autoincrement=False),
    Column("grain", Integer, primary_key=True, autoincrement=False),
    Column("begin", BigInteger, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    *_summed(),
    sqlite_with_rowid=False,
)
"""What the records of a combination add up to in one step of time: `grain` seconds from `begin` on."""

counters: Final = Table(
    "counters",
    METADATA,
    Column("name", C_TEXT, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""`number`: of the record that was taken last. `removals`: how often combinations or days were. `minutes_from` and
`days_until`: see `rollups.Kept`. The others are those of `retention`."""

workers: Final = Table(
    "workers",
    METADATA,
    Column("gateway", C_TEXT, primary_key=True),
    Column("worker", Integer, primary_key=True, autoincrement=False),
    Column("started_s", Float(53), primary_key=True, autoincrement=False),
    Column("dropped", BigInteger, nullable=False),
    Column("at_s", Float(53), nullable=False),
)
"""What each worker could not hand over."""

providers: Final = Table(
    "providers",
    METADATA,
    Column("provider", C_TEXT, primary_key=True),
    Column("gateway", C_TEXT, primary_key=True),
    Column("at_s", Float(53), nullable=False),
    Column("report", LargeBinary, nullable=False),
)
"""How each gateway reported each provider last."""

verdicts: Final = Table(
    "verdicts",
    METADATA,
    Column("provider", C_TEXT, primary_key=True),
    Column("gateway", C_TEXT, primary_key=True),
    Column("begin_s", Float(53), primary_key=True, autoincrement=False),
    Column("verdict", C_TEXT, nullable=False),
    Column("cause", C_TEXT, nullable=False),
    Column("end_s", Float(53)),
)
"""How each provider was doing for a while; no end: it still is."""
