"""Lines of JSON while others rotate their file and the disk fills up: none is lost that is not counted."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.activity.export.records import numbered
from tests.waiting import eventually

from limpet_activity.export.background import BackgroundExporter
from limpet_activity.export.export_metrics import ExportMetrics
from limpet_activity.export.json_lines import JsonLines

FULL = Path("/dev/full")
"""Each write to it fails as on a full disk."""


class Stage:
    def __init__(self, path: Path) -> None:
        self.registry = CollectorRegistry()
        self.exporter = BackgroundExporter(
            "json_lines", JsonLines(str(path)), ExportMetrics(self.registry), pauses_s=(0.0,)
        )

    def exported(self) -> float | None:
        return self._value("exported_records_total", exporter="json_lines")

    def lost(self) -> float | None:
        return self._value("export_lost_records_total", exporter="json_lines", why="not_taken")

    def _value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"limpet_activity_{name}", labels)


@pytest.fixture
def start() -> Iterator[Callable[[Path], Stage]]:
    stages: list[Stage] = []

    def started(path: Path) -> Stage:
        stages.append(Stage(path))
        return stages[-1]

    yield started
    for stage in stages:
        stage.exporter.close(5.0)


def ids(path: Path) -> list[int]:
    return [int(json.loads(line)["id"]) for line in path.read_bytes().splitlines()]


def test_each_line_is_in_one_file_however_often_it_is_renamed(tmp_path: Path, start: Callable[[Path], Stage]) -> None:
    path = tmp_path / "a"
    stage = start(path)
    for number in range(20):
        stage.exporter.export(numbered(50, 50 * number))
        if path.exists():
            path.rename(tmp_path / f"old-{number}")
    eventually(lambda: stage.exported() == 1000)
    found = [each for file in tmp_path.iterdir() for each in ids(file)]
    assert sorted(found) == list(range(1000))
    assert stage.lost() == 0


def test_a_file_that_is_copied_and_truncated_begins_anew_with_a_whole_line(
    tmp_path: Path, start: Callable[[Path], Stage]
) -> None:
    path = tmp_path / "a"
    stage = start(path)
    for number in range(5):
        stage.exporter.export(numbered(10, 10 * number))
        eventually(lambda number=number: stage.exported() == 10 * (number + 1))  # type: ignore[misc]
        shutil.copyfile(path, tmp_path / f"copy-{number}")
        os.truncate(path, 0)
    assert [ids(tmp_path / f"copy-{number}") for number in range(5)] == [
        list(range(10 * number, 10 * number + 10)) for number in range(5)
    ]


def test_what_a_full_disk_does_not_take_is_counted_and_what_comes_later_is_written(
    tmp_path: Path, start: Callable[[Path], Stage]
) -> None:
    path = tmp_path / "a"
    path.symlink_to(FULL)
    stage = start(path)
    stage.exporter.export(numbered(3))
    eventually(lambda: stage.lost() == 3)
    path.unlink()
    stage.exporter.export(numbered(2, 3))
    eventually(lambda: stage.exported() == 2)
    assert ids(path) == [3, 4]
    assert stage.lost() == 3
