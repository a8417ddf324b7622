"""`limpet bench mesh-apply`: one small run over a real API server, istiod and operator."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench


@pytest.mark.slow
def test_a_small_run_tells_what_of_it_is_the_operators_part(tmp_path: Path) -> None:
    file = tmp_path / "mesh.json"
    result = CliRunner().invoke(bench, ["mesh-apply", "--providers", "3", "--rounds", "2", "--json", str(file)])
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    assert (figures["providers"], figures["rounds"]) == (3, 2)
    assert 0 < figures["written"]["p50_ms"] < figures["told"]["p99_ms"]
    assert figures["untold"]["p50_ms"] > 0
