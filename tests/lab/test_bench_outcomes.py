"""`limpet bench outcomes`: what is counted as missing, and a short run through the real Envoy."""

import asyncio
import io
import json
from pathlib import Path

import pytest
import typer
from msgspec.structs import replace
from rich.console import Console
from typer.testing import CliRunner

from limpet_lab.bench.outcomes import outcomes
from limpet_lab.bench.outcomes_figures import OutcomesRun, counts_of, envoy_counts_of, largest, table, verdict
from limpet_lab.bench.outcomes_load import SentLoad, send

HELD = OutcomesRun(
    workers=2,
    memory="redis",
    stopped_s=1.0,
    sent=10_000,
    failed=0,
    undecided=3,
    slowest_s=1.1,
    outcomes=10_000,
    records=10_000,
    entries_written=10_004,
    entries_dropped=0,
    entries_taken=10_004,
    shown_delay_s=1.0,
    shown_lag_s=0.5,
)


@pytest.mark.parametrize(
    ("run", "missing"),
    [
        (HELD, []),
        (replace(HELD, stopped_s=0.0, shown_delay_s=0.0, shown_lag_s=0.0), []),
        (replace(HELD, failed=1), ["requests failed"]),
        (replace(HELD, outcomes=9_999), ["not an outcome for each request"]),
        (replace(HELD, outcomes=10_001), ["not an outcome for each request"]),
        (replace(HELD, records=9_999), ["not a record for each request"]),
        (replace(HELD, entries_taken=10_003), ["entries lost"]),
        (replace(HELD, entries_dropped=1), ["entries lost"]),
        (replace(HELD, shown_delay_s=0.25), ["the stop does not show"]),
        (replace(HELD, shown_lag_s=0.25), ["the stop does not show"]),
    ],
)
def test_what_is_missing_is_named(run: OutcomesRun, missing: list[str]) -> None:
    assert run.missing == missing


def test_all_workers_are_counted_together() -> None:
    page = """\
# TYPE limpet_requests_total counter
limpet_requests_total{provider="a",decision="sticky.hit",outcome="ok",worker="0"} 5.0
limpet_requests_total{provider="b",decision="sticky.hit",outcome="ok",worker="1"} 7.0
# TYPE limpet_access_log_entries_total counter
limpet_access_log_entries_total{envoy="own",worker="1"} 13.0
# TYPE limpet_outcome_delay_seconds histogram
limpet_outcome_delay_seconds_bucket{le="0.5",worker="0"} 3.0
limpet_outcome_delay_seconds_bucket{le="+Inf",worker="0"} 3.0
limpet_outcome_delay_seconds_bucket{le="0.5",worker="1"} 2.0
limpet_outcome_delay_seconds_bucket{le="+Inf",worker="1"} 4.0
limpet_outcome_delay_seconds_count{worker="1"} 4.0
"""
    counts = counts_of(page)
    assert (counts.outcomes, counts.entries) == (12, 13)
    assert counts.delay == {0.5: 5.0, float("inf"): 7.0}
    assert counts.lag == {}


def test_envoy_says_what_it_has_written_and_dropped() -> None:
    page = "access_logs.grpc_access_log.logs_dropped: 2\naccess_logs.grpc_access_log.logs_written: 40\n"
    assert envoy_counts_of(page) == (40, 2)


@pytest.mark.parametrize(
    ("after", "exceeded"),
    [
        ({0.5: 9.0, 1.0: 9.0, float("inf"): 9.0}, 0.0),
        ({0.5: 8.0, 1.0: 9.0, float("inf"): 9.0}, 0.5),
        ({0.5: 8.0, 1.0: 8.0, float("inf"): 9.0}, 1.0),
    ],
)
def test_only_what_came_meanwhile_is_the_largest(after: dict[float, float], exceeded: float) -> None:
    """One was later than every bound before."""
    before = {0.5: 4.0, 1.0: 4.0, float("inf"): 5.0}
    assert largest(before, {bound: count + before[bound] for bound, count in after.items()}) == exceeded


def test_the_table_fits_80_columns_and_the_verdict_names_the_run() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table([HELD]))
    text = console.export_text()
    assert "…" not in text
    assert "10,000" in text
    assert verdict([HELD]) == "Each request was answered, and has one outcome and one record."
    assert verdict([HELD, replace(HELD, failed=2)]) == "workers: 2, stopped for 1 s: requests failed"


async def test_a_load_is_as_large_as_it_should_be_whatever_answers() -> None:
    answered = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            answered += 1
            if answered % 5 == 0:
                break
            status = b"503 Service Unavailable" if answered % 7 == 0 else b"200 OK"
            writer.write(
                b"HTTP/1.1 %s\r\nx-limpet-decision: fallback.undecided\r\ncontent-length: 2\r\n\r\n{}" % status
            )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    load = SentLoad()
    async with server:
        port = server.sockets[0].getsockname()[1]
        await send(f"http://127.0.0.1:{port}/v1/chat/completions", 35, 4, load)
    assert answered == load.sent == 35
    assert load.statuses == {0: 7, 503: 4, 200: 24}
    assert (load.failed, load.undecided) == (11, 28)


@pytest.mark.slow
@pytest.mark.envoy
def test_no_outcome_is_missing_in_a_short_run(tmp_path: Path) -> None:
    app, file = typer.Typer(), tmp_path / "figures.json"
    app.command()(outcomes)
    done = CliRunner().invoke(app, ["--requests", "400", "--json", str(file)])
    assert done.exit_code == 0, done.output
    figures = json.loads(file.read_text())
    assert figures["held"]
    assert [(run["workers"], run["stopped_s"], run["sent"]) for run in figures["runs"]] == [
        (workers, stopped_s, 400) for workers in (1, 2) for stopped_s in (0.0, 1.0)
    ]
