"""`limpet bench faults` as a user starts it: its short form, what it refuses, and what it needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench
from limpet_lab.bench.faults.bars import LITTLE_LATER, MOVED_SOON, STICKY_IN_A_TURN
from limpet_lab.bench.faults.rows import FLAKY_NAME
from limpet_lab.bench.faults.table import FAULTS

TIMED = (LITTLE_LATER.text, MOVED_SOON.text, STICKY_IN_A_TURN.text)
"""Bars that a machine with other work may miss: lookups of the memory have five milliseconds."""


@pytest.mark.envoy
def test_the_short_form_holds_all_that_is_not_a_matter_of_speed(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    program = [sys.executable, "-c", "from limpet_operator.cli import main; main()"]
    command = [*program, "bench", "faults", "--short", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert file.exists(), done.stdout + done.stderr
    figures = json.loads(file.read_text())
    assert [fault["name"] for fault in figures["faults"]] == [*(f.name for f in FAULTS if f.short), FLAKY_NAME]
    missed = {
        fault["name"]: [each for each in fault["missed"] if not each.startswith(TIMED)] for fault in figures["faults"]
    }
    assert not any(missed.values()), done.stdout
    assert figures["client_errors_total"] == 0
    assert "Traceback" not in done.stderr


def test_a_fault_that_does_not_exist_is_refused_with_those_that_do() -> None:
    refused = CliRunner().invoke(bench, ["faults", "--only", "earthquake"], env={"COLUMNS": "1000"})
    assert refused.exit_code == 2
    assert "no fault earthquake; there are: redis_killed, redis_stalled" in refused.output


@pytest.mark.slow
def test_without_redis_server_it_says_what_to_install() -> None:
    refused = CliRunner().invoke(bench, ["faults", "--only", "hangs"], env={"PATH": "/nowhere"})
    assert refused.exit_code == 2
    assert "apt-get install redis-server" in refused.output
