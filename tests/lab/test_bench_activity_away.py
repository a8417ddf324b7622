"""`limpet bench activity-away`: figures of each phase, and records that are lost or doubled."""

import json
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from limpet_lab.bench.activity_away import PHASES, SentRequest, activity_away, figures_of


def test_each_phase_has_its_own_times_and_noise() -> None:
    # Five seconds of warming up, then three times four, a request each second; those of the second phase are slower.
    sent = [SentRequest(float(at), 9.0 if at < 5 else 0.004 if 9 <= at < 13 else 0.002, 200) for at in range(17)]
    sent[10] = SentRequest(10.0, 0.5, 0)
    found = figures_of(sent, Counter({str(number): 1 for number in range(16)}) + Counter({"0": 2}), 1, 4.0)
    there, killed, back = found.phases
    assert [each.phase for each in found.phases] == list(PHASES)
    assert (there.requests, there.p50_ms, there.p99_ms, there.slowest_ms, there.failed) == (4, 2.0, 2.0, 2.0, 0)
    assert (killed.p50_ms, killed.p99_ms, killed.least_p99_ms, killed.most_p99_ms) == (4.0, 500.0, 4.0, 500.0)
    assert (killed.failed, back.failed, back.p99_ms) == (1, 0, 2.0)
    assert (found.sent, found.kept, found.lost, found.doubled) == (17, 16, 1, 2)


@pytest.mark.slow
@pytest.mark.envoy
def test_a_service_that_is_killed_loses_no_record(tmp_path: Path) -> None:
    app, file = typer.Typer(), tmp_path / "figures.json"
    app.command()(activity_away)
    done = CliRunner().invoke(app, ["--per-second", "20", "--seconds", "2", "--json", str(file)])
    assert done.exit_code == 0, done.output
    figures = json.loads(file.read_text())
    assert (figures["sent"], figures["lost"], figures["doubled"]) == (220, 0, 0)
    assert "220 requests, 220 of them with a record: 0 lost, 0 doubled." in done.output
