"""`limpet bench latency`: the pure parts by tables and properties, its setup through the real Envoy, without wrk."""

import asyncio
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from limpet_lab.bench import latency_dialects
from limpet_lab.bench.latency import NotMeasuredError, check, decisions_of, require_decided
from limpet_lab.bench.latency_cell import Cell
from limpet_lab.bench.latency_load import DIALECTS, SIZES, answer, body, write_bodies
from limpet_lab.bench.latency_memory import MemoryReading, as_json
from limpet_lab.bench.latency_memory import table as memory_table
from limpet_lab.bench.latency_report import BARS, Bar, Figures, bars, report, table
from limpet_lab.bench.latency_targets import TARGETS, ask, running
from limpet_lab.bench.latency_wrk import WrkError, WrkRun, find_wrk, measured, parse, percentile

_PARTS = ("upstream", "envoy", "limpet", "extproc")


def _corrected(samples: dict[int, int], interval: int) -> dict[int, int]:
    """What wrk makes of samples."""
    out = Counter(samples)
    for value, count in samples.items():
        if value >= 2 * interval:
            for added in range(value - interval, interval, -interval):
                out[added] += count
    return dict(out)


def _output(
    latency: list[tuple[int, int]], *, requests: int, duration_us: int = 2_000_000, sockets: int = 0, bad: int = 0
) -> str:
    word = {
        "requests": requests,
        "duration_us": duration_us,
        "socket_errors": sockets,
        "bad_statuses": bad,
        "latency": latency,
    }
    return f"Running 2s test\n  1 threads and 1 connections\n\nlimpet-bench {json.dumps(word)}\n"


@settings(deadline=None)
@given(
    samples=st.dictionaries(st.integers(1, 5_000), st.integers(1, 50), min_size=1, max_size=30),
    interval=st.integers(20, 3_000),
)
def test_what_the_correction_added_is_taken_out_exactly(samples: dict[int, int], interval: int) -> None:
    assert measured(_corrected(samples, interval), interval) == samples


def test_a_histogram_that_was_not_corrected_is_refused() -> None:
    with pytest.raises(WrkError, match="not corrected by 100 µs"):
        measured({1_000: 3, 900: 1}, 100)


@pytest.mark.parametrize(
    ("counts", "percent", "value"),
    [
        ({7: 1}, 0, 7),
        ({7: 1}, 50, 7),
        ({7: 1}, 100, 7),
        ({1: 1, 2: 1}, 50, 1),
        ({1: 1, 2: 1}, 51, 2),
        ({10: 99, 500: 1}, 99, 10),
        ({10: 98, 500: 2}, 99, 500),
        ({3: 5, 1: 5}, 50, 1),
    ],
)
def test_percentiles_are_by_nearest_rank(counts: dict[int, int], percent: float, value: int) -> None:
    assert percentile(counts, percent) == value


def test_no_answers_have_no_percentiles() -> None:
    with pytest.raises(ValueError, match="no answers"):
        percentile({}, 50)


def test_the_line_of_the_script_becomes_a_run() -> None:
    # 4 answers in 2,000 µs by one connection: interval 500, so the sample of 1,200 added one of 700.
    run = parse(_output([(100, 3), (700, 1), (1_200, 1)], requests=4, duration_us=2_000), connections=1)
    assert run == WrkRun(requests=4, failed=0, duration_s=0.002, latency={100: 3, 1_200: 1})
    assert run.rps == 2_000
    assert run.percentile_ms(50) == 0.1


def test_bad_answers_and_broken_connections_both_count_as_failed() -> None:
    assert parse(_output([(100, 9)], requests=10, sockets=2, bad=3), connections=1).failed == 5


@pytest.mark.parametrize(("sockets", "failed"), [(7, 7), (0, 32)])
def test_nobody_answered_at_all(sockets: int, failed: int) -> None:
    assert parse(_output([], requests=0, sockets=sockets), connections=32) == WrkRun(0, failed, 2.0, {})


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("latency_wrk.lua: cannot open 0.json\n", "cannot open 0.json"),
        (_output([(100, 3)], requests=4), "4 answers and 3 latencies"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(output: str, says: str) -> None:
    with pytest.raises(WrkError, match=says):
        parse(output, connections=1)


def test_a_missing_wrk_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(WrkError, match=r"'apt-get install wrk'.*'make bench'"):
        find_wrk(path=str(tmp_path))


@pytest.mark.parametrize("size", SIZES.values())
def test_bodies_have_their_exact_size_and_differ_where_a_conversation_begins(tmp_path: Path, size: int) -> None:
    folder = write_bodies(tmp_path / "bodies", size, number=20)
    contents = [folder.joinpath(f"{number}.json").read_bytes() for number in range(20)]
    assert {len(content) for content in contents} == {size}
    requests = [json.loads(content) for content in contents]
    assert len({request["messages"][0]["content"] for request in requests}) == 20
    for request in requests:
        roles = [message["role"] for message in request["messages"]]
        assert roles[0] == "system"
        assert all(role == ("user", "assistant")[turn % 2] for turn, role in enumerate(roles[1:]))
        assert roles[-1] == "user"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_says_the_same_in_its_own_words(dialect: str) -> None:
    asked = json.loads(body(3, SIZES["12KB"], dialect=dialect))
    assert len(body(3, SIZES["12KB"], dialect=dialect)) == SIZES["12KB"]
    turns = asked["input" if dialect == "responses" else "messages"]
    system = {"chat": turns[0]["content"], "messages": asked.get("system"), "responses": asked.get("instructions")}
    assert system[dialect].startswith("You are assistant 3.")
    assert [turn["role"] for turn in turns][-2:] == ["assistant", "user"]
    said = json.loads(answer(dialect))
    assert 500 <= len(answer(dialect)) <= 780
    assert 2944 in (
        said["usage"].get("cache_read_input_tokens"),
        *(said["usage"].get(f"{of}_tokens_details", {}).get("cached_tokens") for of in ("prompt", "input")),
    )


def test_a_body_that_is_too_small_says_the_least() -> None:
    with pytest.raises(ValueError, match="is the least") as caught:
        body(0, 300)
    least = int(str(caught.value).split(", ")[1].split()[0])
    assert len(body(0, least)) == least


def test_the_answer_is_a_completion_with_usage_of_about_730_bytes() -> None:
    assert 680 <= len(answer()) <= 780
    assert json.loads(answer())["usage"]["prompt_tokens_details"]["cached_tokens"] == 2944


def _run(p50_us: int, rps: int, failed: int = 0) -> WrkRun:
    return WrkRun(rps * 2, failed, 2.0, {p50_us: rps * 2 - rps // 20, p50_us * 3: rps // 20})


def _cell(number: int, target: str, p50_us: int, rps: int) -> Cell:
    run = _run(p50_us, rps)
    cpu = {part: run.requests * us / 1e6 for part, us in zip(_PARTS, (20, 30, 150, 250), strict=True)}
    return Cell(number, "12KB", target, run, run, cpu, dict(zip(_PARTS, (70, 71, 80, 50 + number), strict=True)))


def _cells() -> list[Cell]:
    direct, envoy, limpet = TARGETS
    return [
        # The second round ran on a machine at half speed: pairs still agree.
        *(_cell(0, direct, 50, 40_000), _cell(0, envoy, 200, 20_000), _cell(0, limpet, 850, 4_000)),
        *(_cell(1, direct, 100, 20_000), _cell(1, envoy, 400, 10_000), _cell(1, limpet, 900, 2_000)),
        *(_cell(2, direct, 50, 40_000), _cell(2, envoy, 200, 20_000), _cell(2, limpet, 850, 4_000)),
    ]


def test_what_is_added_is_taken_inside_a_round_and_the_median_over_rounds_is_shown() -> None:
    assert report(_cells())["limpet"]["12KB"] == {
        "p50_ms": 0.85,
        "p99_ms": 2.55,
        "rps": 4_000,
        "cpu_us": 150,
        "rss_mb": 80,
        "failed": 0,
        "added_p50_ms": 0.8,
        "added_p99_ms": 2.4,
        "share_of_envoy": 0.2,
        "extproc_cpu_us": 250,
        "extproc_rss_mb": 52,
    }


def test_every_target_has_what_can_be_said_of_it() -> None:
    result = report(_cells())
    everybody = {"p50_ms", "p99_ms", "rps", "cpu_us", "rss_mb", "failed"}
    assert set(result) == set(TARGETS)
    assert set(result["direct"]["12KB"]) == everybody
    assert set(result["envoy"]["12KB"]) == everybody | {"added_p50_ms", "added_p99_ms"}
    assert result["direct"]["12KB"]["cpu_us"] == 20


@pytest.mark.parametrize(
    ("broken", "nulls"),
    [
        (
            "limpet",
            {"p50_ms", "p99_ms", "rps", "cpu_us", "added_p50_ms", "added_p99_ms", "share_of_envoy", "extproc_cpu_us"},
        ),
        ("direct", {"added_p50_ms", "added_p99_ms"}),
        ("envoy", {"share_of_envoy"}),
    ],
)
def test_one_failed_request_takes_the_numbers_of_a_cell_and_those_compared_with_it(
    broken: str, nulls: set[str]
) -> None:
    cells = [
        replace(cell, many=replace(cell.many, failed=1)) if (cell.target, cell.round) == (broken, 1) else cell
        for cell in _cells()
    ]
    result = report(cells)
    assert {key for key, value in result["limpet"]["12KB"].items() if value is None} == nulls
    assert result[broken]["12KB"]["failed"] == 1
    assert "failed (1)" in _text(result)


def test_a_cell_without_any_answer_is_null_too() -> None:
    dead = WrkRun(0, 32, 2.0, {})
    cells = [replace(cell, one=dead, many=dead) if cell.target == "limpet" else cell for cell in _cells()]
    assert report(cells)["limpet"]["12KB"]["p50_ms"] is None


def _text(result: Figures) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(result, "3 rounds"), bars(result))
    return console.export_text()


def test_the_tables_fit_80_columns_and_name_every_bar() -> None:
    text = _text(report(_cells()))
    assert "…" not in text
    for words in ("12KB", "0.850", "+0.800", "4,000", "0.200", "150", "250", "3 rounds", "holds", "not measured"):
        assert words in text
    for bar in BARS:
        assert bar.words in text


@pytest.mark.parametrize(
    ("bar", "value", "holds"),
    [
        (Bar("12KB", "added_p50_ms", 1.0, "", ""), 1.0, True),
        (Bar("12KB", "added_p50_ms", 1.0, "", ""), 1.01, False),
        (Bar("12KB", "share_of_envoy", 0.14, "", "", at_least=True), 0.14, True),
        (Bar("12KB", "share_of_envoy", 0.14, "", "", at_least=True), 0.139, False),
    ],
)
def test_bars_have_a_side(bar: Bar, value: float, holds: bool) -> None:
    assert bar.holds(value) is holds


def test_the_memory_table_judges_the_worst_reading() -> None:
    readings = [MemoryReading("the start", 0, 50.04), MemoryReading("20 bodies of 10 MB", 20, 151.0)]
    assert as_json(readings)[0] == {"after": "the start", "requests": 0, "rss_mb": 50.0}
    assert "missed" in str(memory_table(readings).caption)
    assert "holds" in str(memory_table(readings[:1]).caption)


def test_requests_that_passed_without_ext_proc_spoil_the_run() -> None:
    metrics = 'limpet_decisions_total{reason="sticky.hit"} 90.0\nlimpet_decisions_total{reason="first.scored"} 9.0\n'
    text = "# TYPE limpet_decisions counter\n" + metrics + 'limpet_other_total{reason="x"} 5.0\n'
    decisions = decisions_of(text)
    assert decisions == {"sticky.hit": 90, "first.scored": 9}
    require_decided(decisions, 99)
    with pytest.raises(NotMeasuredError, match="decided 99 of 100"):
        require_decided(decisions, 100)


def test_decisions_of_all_workers_count() -> None:
    lines = [
        f'limpet_decisions_total{{reason="{reason}",worker="{worker}"}} {count}'
        for reason, worker, count in (("sticky.hit", 0, 9.0), ("sticky.hit", 1, 11.0), ("first.scored", 1, 2.0))
    ]
    text = "\n".join(["# TYPE limpet_decisions counter", *lines, ""])
    assert decisions_of(text) == {"sticky.hit": 20, "first.scored": 2}


@pytest.mark.envoy
@pytest.mark.parametrize("rename", [False, True])
async def test_the_three_targets_answer_alike_and_only_limpet_names_a_provider(tmp_path: Path, rename: bool) -> None:
    async with running(tmp_path, concurrency=1, rename=rename) as targets:
        await check(targets)
        statuses = {
            (target, dialect): (
                await asyncio.to_thread(
                    ask, url.replace(DIALECTS["chat"], path), body(1, SIZES["100KB"], dialect=dialect)
                )
            )[0]
            for target, url in targets.urls.items()
            for dialect, path in DIALECTS.items()
        }
    assert set(statuses.values()) == {200}, statuses


def _by_dialect(p50_us: tuple[int, int, int]) -> list[Cell]:
    return [
        _cell(number, dialect, us * (1 + number), 4_000 // (1 + number))
        for number in range(3)
        for dialect, us in zip(DIALECTS, p50_us, strict=True)
    ]


@pytest.mark.parametrize(("messages", "ratio", "outcome"), [(840, 1.05, "holds"), (1_000, 1.25, "missed")])
def test_another_dialect_is_compared_with_chat_inside_a_round(messages: int, ratio: float, outcome: str) -> None:
    result = latency_dialects.report(_by_dialect((800, messages, 800)))
    entry = result["messages"]["12KB"]
    assert (entry["p50_of_chat"], entry["rps_of_chat"], entry["cpu_of_chat"]) == (ratio, 1.0, 1.0)
    assert "p50_of_chat" not in result["chat"]["12KB"]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(latency_dialects.table(result), latency_dialects.bars(result))
    text = console.export_text()
    assert "…" not in text
    line = next(line for line in text.splitlines() if "p50 of messages" in line)
    assert outcome in line


def test_a_failed_request_of_a_dialect_leaves_nothing_to_compare() -> None:
    cells = [
        replace(cell, one=replace(cell.one, failed=1)) if (cell.target, cell.round) == ("chat", 1) else cell
        for cell in _by_dialect((800, 800, 800))
    ]
    result = latency_dialects.report(cells)
    assert result["responses"]["12KB"]["rps_of_chat"] is None
    assert result["responses"]["12KB"]["p50_ms"] is not None
    assert result["chat"]["12KB"]["failed"] == 1
