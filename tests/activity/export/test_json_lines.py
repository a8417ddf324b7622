"""Lines of JSON in a file that others rotate, on a disk that may be full."""

import json
import os
import resource
from pathlib import Path

import msgspec
import pytest
from tests.activity.export.records import RECORD, numbered

from limpet_activity.export.json_lines import JsonLines, json_line
from limpet_activity.export.port import ExportSettingsError


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_each_record_is_a_line_that_any_parser_reads(tmp_path: Path) -> None:
    path = tmp_path / "activity.jsonl"
    odd = msgspec.structs.replace(RECORD, model='<script>"\n\u2028', prompt_tokens=2**63, paid_usd=float("inf"))
    sink = JsonLines(str(path))
    assert sink.write([RECORD, odd]) == 2
    sink.close()
    first, second = (json.loads(line) for line in path.read_bytes().splitlines())
    assert (first["reason"], first["cached_tokens"]) == ("sticky.failover", 4000)
    assert (second["model"], second["prompt_tokens"], second["paid_usd"]) == (odd.model, 2**63, None)


def test_a_file_that_is_there_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for _ in range(2):
        sink = JsonLines(str(path))
        sink.write(numbered(1))
        sink.close()
    assert ids(path) == ["0", "0"]


def test_a_file_that_is_moved_away_is_begun_anew_without_a_signal(tmp_path: Path) -> None:
    path, old = tmp_path / "a", tmp_path / "a.1"
    sink = JsonLines(str(path))
    sink.write(numbered(1))
    path.rename(old)
    sink.write(numbered(1, 1))
    path.unlink()
    sink.write(numbered(1, 2))
    assert (ids(old), ids(path)) == (["0"], ["2"])
    os.truncate(path, 0)
    sink.write(numbered(1, 3))
    sink.close()
    assert ids(path) == ["3"]


def test_a_folder_that_is_away_for_a_while_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    path, moved = tmp_path / "logs" / "a", tmp_path / "moved"
    path.parent.mkdir()
    sink = JsonLines(str(path))
    path.parent.rename(moved)
    with pytest.raises(FileNotFoundError):
        sink.write(numbered(1))
    path.parent.mkdir()
    assert sink.write(numbered(1)) == 1
    sink.close()
    assert ids(path) == ["0"]


def test_on_a_full_disk_whole_lines_count_and_the_next_one_begins_anew(tmp_path: Path) -> None:
    path, records = tmp_path / "a", numbered(3)
    room = len(json_line(records[0])) + 10
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = JsonLines(str(path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        assert sink.write(records) == 1
        with pytest.raises(OSError, match="File too large"):
            sink.write(records[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sink.write(records[1:]) == 2
    sink.close()
    first, cut, *others = path.read_text().splitlines()
    assert len(cut) == 10
    assert [json.loads(line)["id"] for line in (first, *others)] == ["0", "1", "2"]


def test_a_line_that_was_cut_off_and_truncated_leaves_no_empty_one(tmp_path: Path) -> None:
    path, records = tmp_path / "a", numbered(2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = JsonLines(str(path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(json_line(records[0])) + 10, before[1]))
    try:
        assert sink.write(records) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    os.truncate(path, 0)
    assert sink.write(records[1:]) == 1
    sink.close()
    assert path.read_bytes() == json_line(records[1])


def test_a_file_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ExportSettingsError, match=r"--json-lines .*missing/a: cannot be written: No such file.*folder"):
        JsonLines(str(tmp_path / "missing" / "a"))
