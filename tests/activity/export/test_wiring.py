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


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"},
    ],
    ids=["meaning", "file"],
)
def test_a_variable_without_a_meaning_costs_the_spans_alone(
    environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = exporters(ExportSettings(str(tmp_path / "a")), environ, CollectorRegistry())
    for exporter in running:
        exporter.close(60)
    assert [exporter.name for exporter in running] == ["json_lines"]
    (said,) = caplog.messages
    assert said.startswith("no spans are sent: ")


def test_a_file_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ExportSettingsError, match="cannot be written"):
        exporters(ExportSettings(str(tmp_path / "missing" / "a")), {}, CollectorRegistry())
