"""Which exporters run."""

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.activity.export.records import RECORD

from limpet_activity.export.port import ExportSettingsError
from limpet_activity.export.wiring import ExportSettings, exporters


def test_none_runs_unasked() -> None:
    registry = CollectorRegistry()
    assert exporters(ExportSettings(), {"PATH": "/bin"}, registry) == []


def test_both_run_side_by_side(tmp_path: Path) -> None:
    lines = tmp_path / "a"
    environ = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "always_off"}
    running = exporters(ExportSettings(str(lines)), environ, CollectorRegistry())
    for exporter in running:
        exporter.export([RECORD])
        exporter.close(60)
    assert [exporter.name for exporter in running] == ["json_lines", "otlp"]
    assert json.loads(lines.read_text())["id"] == RECORD.id


def test_a_wrong_setting_ends_it_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ExportSettingsError, match="OTEL_TRACES_EXPORTER=x"):
        exporters(ExportSettings(str(tmp_path / "a")), {"OTEL_TRACES_EXPORTER": "x"}, CollectorRegistry())
    assert not (tmp_path / "a").exists()
