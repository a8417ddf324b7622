"""`limpet bench activity`: rows a second taken in, bytes a row, and how long the page's questions take at many rows.

SQLite in a temporary folder, and a PostgreSQL of its own. Records go the way they go in the service: batches as workers
encode them, ten in one transaction.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_activity.store.databases import parse_url
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import MOST_RECORDS, decode_batch, encode_batch
from limpet_lab.bench.activity_questions import questions
from limpet_lab.bench.activity_rows import BUSY_PART, batches
from limpet_lab.postgresql import NoPostgresqlError, postgresql_server

BAR_ROWS_PER_S: Final = 5_000.0
_AT_ONCE: Final = 10
"""Batches in a transaction, as in `limpet_activity.intake`."""
_ASKED: Final = 5
"""How often each question is asked; the median counts."""
_SETTINGS: Final = ("shared_buffers=512MB", "max_wal_size=4GB", "work_mem=32MB")


_OpenedStore = tuple[SqlStore, Callable[[], float]]
"""A store, and the processor time that it has used, with its database."""


class StoreFigures(msgspec.Struct):
    """Of one kind of database."""

    store: str
    rows: int
    rows_per_s: float
    last_rows_per_s: float
    """While the last tenth came in, which is made at 5,000 a second; the others lie a month apart."""
    cpu_us_per_row: float
    """In that time, of the service and its database; other programs on the machine change it less than the rate."""
    bytes_per_row: float
    answers_s: dict[str, float]
    """Median seconds, by question."""
    missed: list[str]
    """Whose bar is not held."""


def activity(
    rows: Annotated[int, typer.Option(help="Records in the store while it is asked.", min=100_000)] = 1_000_000,
    only: Annotated[str, typer.Option(help="sqlite or postgresql; both if not given.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
) -> None:
    """Measure what the activity log costs: rows a second, bytes a row, seconds to an answer."""
    console = Console()
    figures = []
    try:
        for name, opened in (("sqlite", _sqlite), ("postgresql", _postgresql)):
            if only in ("", name):
                with opened() as (store, cpu_s):
                    figures.append(_measure(name, store, cpu_s, rows, console.print))
    except NoPostgresqlError as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    console.print(_intake_table(figures))
    console.print(_answers_table(figures, rows))
    if json_file:
        json_file.write_text(json.dumps(msgspec.to_builtins(figures), indent=2) + "\n")
    if any(each.missed for each in figures):
        raise typer.Exit(1)


@contextmanager
def _sqlite() -> Iterator[_OpenedStore]:
    with (
        tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder,
        _prepared(f"sqlite:///{folder}/activity.sqlite3") as store,
    ):
        yield store, time.process_time


@contextmanager
def _postgresql() -> Iterator[_OpenedStore]:
    with postgresql_server(_SETTINGS) as server, _prepared(server.url()) as store:
        yield store, lambda: time.process_time() + server.cpu_s()


@contextmanager
def _prepared(url: str) -> Iterator[SqlStore]:
    store = SqlStore(parse_url(url))
    try:
        store.prepare()
        yield store
    finally:
        store.close()


def _measure(
    name: str, store: SqlStore, cpu_s: Callable[[], float], rows: int, say: Callable[[str], None]
) -> StoreFigures:
    now_s = time.time()
    say(f"{name}: taking in {rows:,} records …")
    took_s, last_s, last_rows, used_s = _fill(store, cpu_s, rows, now_s)
    while store.tidy(KeepLimits(days=31), now_s):
        pass
    state = store.state()
    if state.records != rows:
        raise RuntimeError(f"{state.records:,} of {rows:,} records were kept")
    say(f"{name}: asking …")
    answers, missed = {}, []
    for question in questions(rows, now_s):
        times = []
        for _ in range(_ASKED):
            began = time.perf_counter()
            question.ask(store)
            times.append(time.perf_counter() - began)
        answers[question.name] = round(sorted(times)[_ASKED // 2], 4)
        if answers[question.name] > question.bar_s:
            missed.append(question.name)
    rate, last = rows / took_s, last_rows / last_s
    if name == "postgresql" and last < BAR_ROWS_PER_S:
        missed.append("rows per second")
    return StoreFigures(
        name,
        rows,
        round(rate),
        round(last),
        round(used_s / last_rows * 1e6),
        round(state.size_bytes / rows, 1),
        answers,
        missed,
    )


def _fill(store: SqlStore, cpu_s: Callable[[], float], rows: int, now_s: float) -> tuple[float, float, int, float]:
    """Seconds it took, those of the last part, how many rows these were, and processor time; without making records."""
    source = batches(rows, now_s)
    took_s = last_s = used_s = 0.0
    done = last_rows = 0
    while group := [encode_batch(batch) for batch in islice(source, _AT_ONCE)]:
        began, used = time.perf_counter(), cpu_s()
        taken = store.take_new([decode_batch(data) for data in group], now_s)
        spent_s = time.perf_counter() - began
        took_s += spent_s
        done += len(taken.new)
        if done > rows * (1 - BUSY_PART) + MOST_RECORDS * _AT_ONCE:
            last_s += spent_s
            used_s += cpu_s() - used
            last_rows += len(taken.new)
    return took_s, last_s, last_rows, used_s


def _intake_table(figures: list[StoreFigures]) -> Table:
    shown = Table(title="taken in", box=SIMPLE)
    for column in ("", "rows", "rows/s", "rows/s, last tenth", "CPU µs a row", "bytes a row"):
        shown.add_column(column, justify="right" if column else "left")
    for each in figures:
        cells = (each.rows, each.rows_per_s, each.last_rows_per_s, each.cpu_us_per_row, each.bytes_per_row)
        shown.add_row(each.store, *(f"{cell:,.0f}" for cell in cells))
    return shown


def _answers_table(figures: list[StoreFigures], rows: int) -> Table:
    shown = Table(title=f"milliseconds to an answer, {rows:,} rows", box=SIMPLE)
    shown.add_column("")
    for each in figures:
        shown.add_column(each.store, justify="right")
    shown.add_column("bar", justify="right")
    for question in questions(rows, 0.0):
        times = [f"{each.answers_s[question.name] * 1000:,.1f}" for each in figures]
        shown.add_row(question.name, *times, f"{question.bar_s * 1000:,.0f}")
    return shown
