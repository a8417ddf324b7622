"""`limpet bench reload`: one small run of the real command and Envoy."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench


@pytest.mark.envoy
def test_a_small_run_changes_adds_and_removes_without_a_failed_request(tmp_path: Path) -> None:
    file = tmp_path / "reload.json"
    result = CliRunner().invoke(bench, ["reload", "--providers", "3", "--rounds", "2", "--json", str(file)])
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    assert (figures["providers"], figures["rounds"], figures["failed_requests"]) == (3, 2, 0)
    assert all(figures[kind]["p50_ms"] > 0 for kind in ("changed", "added", "removed"))
