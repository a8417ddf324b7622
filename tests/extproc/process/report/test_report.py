"""`limpet report`: sums by what is asked for, as a table and as JSON."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.memory.ledger_file import LedgerFile
from limpet_extproc.process.report.command import report
from limpet_extproc.process.report.summary import By, since_when, spending_report
from limpet_extproc.process.report.table import report_lines, why_dearer
from limpet_extproc.request.identity import owner

NOW = datetime(2026, 11, 30, 15, 20, 30, tzinfo=UTC)
HOUR = int(NOW.timestamp() // HOUR_S)

ROWS = {
    RowKey(HOUR, "traffic", "a", "m", "t1", "default"): RowSums(3, 0, 0, 0, 900, 600, 90, 1.0, 4.0, 2.0, 0.9),
    RowKey(HOUR - 24, "traffic", "b", "m", "t2", "default"): RowSums(2, 1, 1, 0, 100, 0, 10, 2.0, 2.0, 2.0, 2.0),
    RowKey(HOUR, "traffic", "a", "n", "", "other"): RowSums(1, cache_unreported=1, paid_usd=0.5, uncached_usd=0.5),
    RowKey(HOUR, "probe", "a", "m"): RowSums(5, paid_usd=0.25, unpriced=1),
}


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("provider", ["b", "a"]),  # the dearest first
        ("model", ["m", "n"]),
        ("tenant", ["t2", "t1", "(no key)"]),
        ("policy", ["default", "other"]),
        ("day", ["2026-11-29", "2026-11-30"]),
    ],
)
def test_lines_are_by_what_is_asked_for_and_probes_apart(by: By, names: list[str]) -> None:
    found = spending_report(ROWS, by, NOW)
    assert list(found.lines) == names
    assert found.total.paid_usd == pytest.approx(3.5)
    assert found.probes.paid_usd == 0.25
    assert sum(sums.requests for sums in found.lines.values()) == 6


def test_the_table_says_what_its_dollars_leave_out() -> None:
    text = "\n".join(report_lines(spending_report(ROWS, "provider", since_when("7d", NOW))))
    assert text == (
        "Since 2026-11-23 15:00 UTC\n"
        "\n"
        "provider  requests  cached     paid  without a cache  not sticky  always cheapest\n"
        "b                2    0.0%  $2.0000          $2.0000     $2.0000          $2.0000\n"
        "a                4   66.7%  $1.5000          $4.5000     $2.0000          $0.9000\n"
        "total            6   60.0%  $3.5000          $6.5000     $4.0000          $2.9000\n"
        "\n"
        "Paid: $3.0000 or 46% less than without a cache.\n"
        "Paid: $0.5000 or 12% less than not sticky.\n"
        "Always cheapest would have cost less: new conversations are shared among near-equal providers "
        "(spread.withinPercent in a StickyPolicy).\n"
        "1 requests are in no sum: their price is not known (write a Pricing).\n"
        "1 requests are in no sum, or by an estimate: nothing told their tokens, as where a client left early.\n"
        "1 answers did not say what was read from a cache; they count as if it were nothing.\n"
        "Besides, 5 probes by completion cost $0.2500; of 1 more it is not known."
    )


@pytest.mark.parametrize(
    ("spread", "cheapest", "said"),
    [
        (1.0, 1.0, []),
        (2.0, 0.996, []),  # shown as equal
        (0.98, 1.0, ["Not sticky would have cost less: little"]),
        (1.0, 0.98, ["Always cheapest would have cost less: every request is shared among near-equal providers anew"]),
        (1.0 + 1e-12, 0.0, ["Always cheapest would have cost less: every request is shared"]),  # of sums of floats
        (2.0, 0.98, ["Always cheapest would have cost less: new conversations are shared among near-equal providers"]),
        (0.9, 0.9, ["Not sticky would have cost less:", "Always cheapest would have cost less:"]),
        (0.0, 0.0, ["Not sticky would have cost less:", "Always cheapest would have cost less:"]),
    ],
)
def test_how_it_can_be_that_a_rule_without_memory_would_have_cost_less(
    spread: float, cheapest: float, said: list[str]
) -> None:
    lines = list(why_dearer(1.0, spread, cheapest))
    assert len(lines) == len(said)
    assert all(line.startswith(words) for line, words in zip(lines, said, strict=True))


def test_nothing_is_said_plainly() -> None:
    assert list(report_lines(spending_report({}, "day", NOW)))[-1] == "No request has been answered since."


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("36h", "2026-11-29T03:00:00+00:00"),
        ("7d", "2026-11-23T15:00:00+00:00"),
        ("2w", "2026-11-16T15:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T12:30+02:00", "2026-11-01T10:00:00+00:00"),
    ],
)
def test_times_as_people_write_them(text: str, moment: str) -> None:
    assert since_when(text, NOW).isoformat() == moment


@pytest.mark.parametrize("text", ["", "yesterday", "3", "-1d", "7 d", "2026-13-01", "99999999d"])
def test_what_is_no_time_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 36h, 7d, 2w, 2026-11-30"):
        since_when(text, NOW)


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(report)
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "1000", "NO_COLOR": "1"})
    return done.exit_code, done.output


def test_json_has_every_sum(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    asyncio.run(LedgerFile(file, "w").write(ROWS))
    code, output = run("--file", str(file), "--since", "2026-01-01", "--by", "model", "--json")
    assert code == 0
    figures = json.loads(output)
    assert [row["model"] for row in figures["rows"]] == ["m", "n"]
    assert figures["total"]["paid_usd"] == pytest.approx(3.5)
    assert figures["total"]["cache_unreported"] == 1
    assert figures["probes"]["requests"] == 5


@pytest.mark.parametrize("sent", [b"sk-alice", b"Bearer sk-alice"])  # as x-api-key, as authorization
def test_a_client_is_found_by_its_key(tmp_path: Path, sent: bytes) -> None:
    file, key, secret = tmp_path / "ledger.sqlite3", tmp_path / "alice", tmp_path / "secret"
    key.write_text("sk-alice\n")
    secret.write_bytes(bytes(32))
    alice = RowKey(HOUR, "traffic", "a", "m", owner(bytes(32), sent).name, "default")
    asyncio.run(LedgerFile(file, "w").write({**ROWS, alice: RowSums(7, paid_usd=0.7)}))
    flags = ("--tenant-of", str(key), "--memory-key-file", str(secret), "--since", "2026-01-01", "--json")
    code, output = run("--file", str(file), *flags)
    assert code == 0, output
    assert json.loads(output)["total"]["requests"] == 7


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--file", "/nowhere/ledger"], 1, "/nowhere/ledger does not exist"),
        (["--since", "soon"], 2, "'soon' is no time"),
        (["--by", "colour"], 2, "'provider', 'model', 'tenant', 'policy', 'day'"),
        (["--file", "x", "--redis-url", "redis://h"], 2, "give one of both"),
        (["--redis-url", "http://h"], 1, "the Redis URL starts with none of redis://"),
        (["--redis-url", "redis://127.0.0.1:1"], 1, "limpet report: Redis: no connection"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, words: str) -> None:
    assert (found := run(*arguments))[0] == code, found[1]
    assert words in found[1]
