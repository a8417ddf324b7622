"""Traces as files: what is read, what is left out, and what is said about it."""

from pathlib import Path

import pytest

from limpet_lab.replay.json_lines import TraceError
from limpet_lab.replay.trace import read_trace, trace_of

GOOD = b'{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}'


def test_lines_are_requests() -> None:
    trace = trace_of([GOOD, b"", GOOD.replace(b"0,", b"2500,", 1)], "t")
    assert [row.timestamp for row in trace.rows] == [0, 2500]
    assert trace.notes == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"timestamp": 0, "input_length": 600, "hash_ids": [1, 2]}', "output_length"),
        (GOOD.replace(b"[1, 2]", b"[1]"), "1 hash_ids for 600 tokens"),
        (GOOD.replace(b"[1, 2]", b"[1, null]"), "hash_ids"),
        (GOOD.replace(b"600", b"-600"), ">= 1"),
        (GOOD.replace(b"600", b'"many"'), "Expected `int`"),
        (GOOD.replace(b"0,", b"1e999,", 1), "timestamp"),
    ],
)
def test_a_hole_is_left_out_and_named(line: bytes, says: str) -> None:
    trace = trace_of([GOOD, line, GOOD], "t")
    assert len(trace.rows) == 2
    [note] = trace.notes
    assert note.startswith("1 of 3 lines are left out: line 2: ")
    assert says in note


def test_many_holes_are_counted() -> None:
    trace = trace_of([GOOD, *[b"?"] * 9], "t")
    assert trace.notes[0].startswith("9 of 10 lines are left out: line 2: ")
    assert trace.notes[0].endswith("and 6 more")


def test_a_clock_that_goes_backwards_is_put_right_and_said() -> None:
    late, early = GOOD.replace(b"0,", b"9000,", 1), GOOD.replace(b"0,", b"4000,", 1)
    trace = trace_of([GOOD, late, early, late], "t")
    assert [row.timestamp for row in trace.rows] == [0, 4000, 9000, 9000]
    assert trace.notes == (
        "the clock goes backwards at 1 of 4 lines: the requests are put in the order of their times",
    )


@pytest.mark.parametrize(("content", "says"), [(b"", "it is empty"), (b"hello\n", "line 1")])
def test_a_file_without_a_request_is_an_error(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_bytes(content)
    with pytest.raises(TraceError, match=says):
        read_trace(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none")
