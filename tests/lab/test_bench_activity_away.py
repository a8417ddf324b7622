"""`limpet bench activity-away`: figures of each phase, and records that are lost or doubled."""

import json
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from limpet_lab.bench.activity_away import activity_away
from limpet_lab.bench.activity_away_figures import AwayFigures, AwaySchedule, SentRequest, figures_of, verdict

ONE_ROUND = AwaySchedule(4.0, 1)
"""Five seconds of warming up, and then six phases of four."""


def found(took_s: dict[int, float], schedule: AwaySchedule = ONE_ROUND, fails: int | None = None) -> AwayFigures:
    """One request each second, which takes 2 ms, or as long as is said of that second."""
    sent = [
        SentRequest(float(at), 9.0 if at < 5 else took_s.get(at, 0.002), 0 if at == fails else 200)
        for at in range(int(schedule.ends_s))
    ]
    return figures_of(sent, Counter({str(number): 1 for number in range(len(sent))}), 1, schedule)


def test_the_same_phases_are_timed_with_the_service_untouched_and_killed() -> None:
    figures = found({10: 0.004, 18: 0.25, 22: 0.5}, fails=22)
    assert [(each.run, each.phase) for each in figures.phases] == [
        *(("untouched", phase) for phase in ("there", "away", "back")),
        *(("killed", phase) for phase in ("there", "away", "back")),
    ]
    _, away_untouched, _, there, away, back = figures.phases
    assert (away_untouched.requests, away_untouched.p50_ms, away_untouched.p99_ms) == (4, 2.0, 4.0)
    assert (there.slowest_ms, there.failed) == (250.0, 0)
    assert (away.p50_ms, away.p99_ms, away.least_p99_ms, away.most_p99_ms, away.failed) == (2.0, 500.0, 2.0, 500.0, 1)
    assert (back.p99_ms, back.failed) == (2.0, 0)


def test_slow_is_what_hardly_any_request_is_with_the_service_untouched() -> None:
    figures = found({10: 0.004, 18: 0.25, 22: 0.5})
    assert figures.slow_ms == 4.0
    assert [each.slow_by_second for each in figures.phases[:3]] == [[0, 0, 0, 0]] * 3
    assert [each.slow_by_second for each in figures.phases[3:]] == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_rounds_come_one_after_the_other_and_are_counted_together() -> None:
    figures = found({5: 0.003, 29: 0.004, 44: 0.005}, AwaySchedule(4.0, 2))
    first, *_, last = figures.phases
    assert (first.requests, first.slowest_ms, last.requests, last.slowest_ms) == (8, 4.0, 8, 2.0)
    assert figures.phases[3].slowest_ms == 5.0


def test_requests_noticed_if_a_phase_is_slower_than_every_quarter_without() -> None:
    assert verdict(found({10: 0.5, 22: 0.5})).startswith("With the service away and back, the p99 stayed within")
    assert verdict(found({10: 0.004, 22: 0.5})) == (
        "Beyond the 4.0 ms that a quarter of a phase reached with the service untouched: away (500.0 ms)."
    )


def test_records_that_are_missing_or_there_twice_are_counted() -> None:
    sent = [SentRequest(float(at), 0.002, 200) for at in range(29)]
    kept = Counter({str(number): 1 for number in range(28)}) + Counter({"0": 2})
    figures = figures_of(sent, kept, 1, ONE_ROUND)
    assert (figures.sent, figures.kept, figures.lost, figures.doubled) == (29, 28, 1, 2)


@pytest.mark.slow
@pytest.mark.envoy
def test_a_service_that_is_killed_loses_no_record(tmp_path: Path) -> None:
    app, file = typer.Typer(), tmp_path / "figures.json"
    app.command()(activity_away)
    done = CliRunner().invoke(app, ["--per-second", "20", "--seconds", "2", "--json", str(file)])
    assert done.exit_code == 0, done.output
    figures = json.loads(file.read_text())
    assert (figures["sent"], figures["lost"], figures["doubled"]) == (340, 0, 0)
    assert "340 requests, 340 of them with a record: 0 lost, 0 doubled." in done.output
