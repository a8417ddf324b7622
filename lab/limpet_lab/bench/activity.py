"""`limpet bench activity`: rows a second taken in, bytes a row, and how long the page's questions take at many rows.

A SQLite file in a temporary folder, and a PostgreSQL of the benchmark's own, one after the other.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Final, NamedTuple

import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_activity.store.databases import Database, open_database, parse_url
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ProviderReport
from limpet_lab.bench.activity_intake import IntakeError, IntakeFigures, measure_intake
from limpet_lab.bench.activity_month import DAYS, fill_month
from limpet_lab.bench.activity_questions import questions
from limpet_lab.bench.activity_rows import PROVIDERS
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.postgresql import NoPostgresqlError, postgresql_server

BAR_ROWS_PER_S: Final = 5_000.0
_ASKED: Final = 5
"""How often each question is asked; the median counts."""
_HANDED_OVER: Final = 100_000
_SETTINGS: Final = (
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "work_mem=32MB",
    "maintenance_work_mem=256MB",
    # A table that is made and filled in one transaction need not be in the log, which makes a month sooner.
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum_naptime=10min",  # It would go through what is still being copied; that is done once it is there.
)


class _Opened(NamedTuple):
    url: str
    store: SqlStore
    database: Database
    database_cpu_s: Callable[[], float]
    """Processor time of its server, if it has one."""


class AnswerFigures(msgspec.Struct):
    """Of one question."""

    median_s: float
    cpu_s: float
    """Processor time for one answer, of the store and its database."""
    bar_s: float


class StoreFigures(msgspec.Struct):
    """Of one kind of database."""

    store: str
    rows: int
    bytes_per_row: float
    filled_s: float
    intake: IntakeFigures
    tidy_s: float
    """To look for what is too old, where nothing is: writing waits for that, once a minute."""
    answers: dict[str, AnswerFigures]
    missed: list[str]
    """Whose bar is not held."""


def activity(
    rows: Annotated[int, typer.Option(help="Records in the store while it is asked.", min=30_000)] = 1_000_000,
    only: Annotated[str, typer.Option(help="sqlite or postgresql; both if not given.")] = "",
    json_file: JsonFile = None,
) -> None:
    """Measure what the activity log costs: rows a second, bytes a row, seconds to an answer."""
    console = Console()
    stores = {"sqlite": _sqlite, "postgresql": _postgresql}
    if only and only not in stores:
        raise typer.BadParameter(f"{only}: sqlite or postgresql", param_hint="--only")
    figures = []
    try:
        for name, opened in stores.items():
            if only in ("", name):
                with opened() as store:
                    figures.append(_measure(name, store, rows, console.print))
    except (NoPostgresqlError, IntakeError) as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    console.print(_intake_table(figures))
    console.print(_answers_table(figures))
    for each in figures:
        if each.missed:
            console.print(f"{each.store} misses its bar: {', '.join(each.missed)}")
    if json_file:
        json_file.write_text(json.dumps(msgspec.to_builtins(figures), indent=2) + "\n")
    if any(each.missed for each in figures):
        raise typer.Exit(1)


@contextmanager
def _sqlite() -> Iterator[_Opened]:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        yield from _opened(f"sqlite:///{folder}/activity.sqlite3", lambda: 0.0)


@contextmanager
def _postgresql() -> Iterator[_Opened]:
    with postgresql_server(_SETTINGS) as server:
        yield from _opened(server.url(), server.cpu_s)


def _opened(url: str, cpu_s: Callable[[], float]) -> Iterator[_Opened]:
    parsed = parse_url(url)
    store, database = SqlStore(parsed), open_database(parsed)
    try:
        store.prepare()
        yield _Opened(url, store, database, cpu_s)
    finally:
        store.close()
        database.engine.dispose()


def _measure(name: str, opened: _Opened, rows: int, say: Callable[[str], None]) -> StoreFigures:
    store, now_s = opened.store, time.time()
    say(f"{name}: keeping a month of {rows:,} records ...")
    began = time.perf_counter()
    kept = fill_month(store, opened.database, rows, now_s)
    filled_s = time.perf_counter() - began
    state = store.state()
    if state.records != kept:
        raise IntakeError(f"{state.records:,} of {kept:,} records are there")
    say(f"{name}: {filled_s:.0f} s; taking in more, by gRPC ...")
    intake = measure_intake(opened.url, store, min(_HANDED_OVER, rows // 10), opened.database_cpu_s)
    store.take([_reports(now_s)], now_s)
    say(f"{name}: {intake.rows_per_s:,.0f} a second; asking ...")
    tidy_s = _timed(lambda: store.tidy(KeepLimits(days=DAYS), time.time()))
    answers = _answers(opened, time.time())
    missed = [question for question, each in answers.items() if each.median_s > each.bar_s]
    if name == "postgresql" and intake.rows_per_s < BAR_ROWS_PER_S:
        missed.append("rows per second")
    size = round(state.size_bytes / kept, 1)
    return StoreFigures(name, kept, size, round(filled_s, 1), intake, round(tidy_s, 3), answers, missed)


def _reports(now_s: float) -> ActivityBatch:
    reports = [ProviderReport(provider, "up", since_s=now_s - 3600) for provider in PROVIDERS]
    return ActivityBatch(VERSION, "gateway-0", 0, 0, now_s, (), reports, now_s)


def _answers(opened: _Opened, now_s: float) -> dict[str, AnswerFigures]:
    found = {}
    for question in questions(opened.store, now_s):
        used_s = time.process_time() + opened.database_cpu_s()
        times = sorted(_timed(question.ask) for _ in range(_ASKED))
        used_s = time.process_time() + opened.database_cpu_s() - used_s
        found[question.name] = AnswerFigures(round(times[_ASKED // 2], 4), round(used_s / _ASKED, 4), question.bar_s)
    return found


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _intake_table(figures: list[StoreFigures]) -> Table:
    shown = Table(title="kept and taken in", box=SIMPLE)
    for column in ("", "rows", "bytes a row", "rows/s", "CPU µs a row: service", "database", "clients", "tidy, ms"):
        shown.add_column(column, justify="right" if column else "left")
    for each in figures:
        took = each.intake
        cells = (each.rows, each.bytes_per_row, took.rows_per_s, took.service_us, took.database_us, took.clients_us)
        shown.add_row(each.store, *(f"{cell:,.0f}" for cell in (*cells, each.tidy_s * 1000)))
    return shown


def _answers_table(figures: list[StoreFigures]) -> Table:
    shown = Table(title="milliseconds to an answer, and of processor time", box=SIMPLE)
    shown.add_column("", no_wrap=True)
    for each in figures:
        shown.add_column(each.store, justify="right")
        shown.add_column("CPU", justify="right")
    shown.add_column("bar", justify="right")
    for name in dict.fromkeys(name for each in figures for name in each.answers):
        cells, bar_s = [], 0.0
        for each in figures:
            answer = each.answers.get(name)
            cells += ["", ""] if answer is None else [f"{answer.median_s * 1000:,.1f}", f"{answer.cpu_s * 1000:,.1f}"]
            bar_s = bar_s if answer is None else answer.bar_s
        shown.add_row(name, *cells, f"{bar_s * 1000:,.0f}")
    return shown
