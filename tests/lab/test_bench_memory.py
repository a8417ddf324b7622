"""`limpet bench memory`, with few conversations: the figures are there, and those that are not times hold."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench
from limpet_lab.bench.memory import BAR_BYTES


@pytest.mark.slow
def test_a_conversation_takes_no_more_bytes_than_the_bar(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    shown = CliRunner().invoke(bench, ["memory", "--conversations", "10000", "--json", str(file)])
    figures = json.loads(file.read_text())
    assert figures["conversations"] == 10_000
    assert [size["warm"] for size in figures["sizes"]] == [4, 2, 1]
    assert all(0 < size["bytes_each"] <= BAR_BYTES for size in figures["sizes"]), shown.output
    assert all(figures[what]["per_s"] > 0 for what in ("lookup", "bare_get"))
