"""Logs are read as people have them; a line that is no request is left out and said."""

import json
from typing import Any

import pytest

from limpet_lab.plan.logged import LoggedRequest, log_of_lines
from limpet_lab.replay.json_lines import TraceError


def _line(**more: Any) -> dict[str, Any]:
    line = {"at": 1_796_000_000, "prompt_tokens": 2000, "output_tokens": 100, **more}
    return {name: value for name, value in line.items() if value is not None}


def _bytes(*lines: Any) -> list[bytes]:
    return [each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines]


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (_line(), LoggedRequest(1_796_000_000.0, 2000, 100)),
        (_line(at="2026-11-30T00:53:20Z"), LoggedRequest(1_796_000_000.0, 2000, 100)),
        (_line(at="2026-11-30T08:53:20+08:00"), LoggedRequest(1_796_000_000.0, 2000, 100)),
        (_line(at="2026-11-30 00:53:20"), LoggedRequest(1_796_000_000.0, 2000, 100)),
        (_line(at=None, created=1_796_000_000_000), LoggedRequest(1_796_000_000.0, 2000, 100)),
        (_line(at=None, timestamp=12.5), LoggedRequest(12.5, 2000, 100)),
        (
            _line(model="m", session_id="s", system_tokens=900),
            LoggedRequest(1_796_000_000.0, 2000, 100, "m", "s", 900),
        ),
        (
            _line(prompt_tokens=None, output_tokens=None, usage={"prompt_tokens": 7, "completion_tokens": 0}),
            LoggedRequest(1_796_000_000.0, 7, 0),
        ),
        (
            _line(
                prompt_tokens=None,
                output_tokens=None,
                usage={
                    "input_tokens": 0,
                    "cache_read_input_tokens": 5000,
                    "cache_creation_input_tokens": 300,
                    "output_tokens": 4,
                },
            ),
            LoggedRequest(1_796_000_000.0, 5300, 4),
        ),
    ],
)
def test_a_line_as_logs_have_it(line: dict[str, Any], request_: LoggedRequest) -> None:
    log = log_of_lines(_bytes(line), "log")
    assert (log.requests, log.notes) == ((request_,), ())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "Input data was truncated"),
        (b"\xff{}", "line 2: "),
        ([1], "no object"),
        (_line(at=None), "no at or time or timestamp"),
        (_line(at="yesterday"), "at is no date such as 2026-11-30T09:15:00Z"),
        (_line(at=True), "at is no time"),
        (_line(at=-5), "at is no time"),
        (_line(prompt_tokens=None), "no prompt_tokens or input_tokens"),
        (_line(prompt_tokens=0), "prompt_tokens is no number of tokens"),
        (_line(prompt_tokens="many"), "prompt_tokens is no number of tokens"),
        (_line(prompt_tokens=10**12), "prompt_tokens is no number of tokens"),
        (_line(output_tokens=-1), "output_tokens is no number of tokens"),
        (_line(system_tokens=1.5), "system_tokens is no number of tokens"),
    ],
)
def test_a_line_that_is_no_request_is_left_out_and_said(line: Any, problem: str) -> None:
    log = log_of_lines(_bytes(_line(), line, b"", _line()), "log")
    assert len(log.requests) == 2
    (note,) = log.notes
    assert note.startswith("1 of 3 lines are left out: line 2: ")
    assert problem in note


def test_a_clock_that_goes_backwards_is_put_in_order_and_said() -> None:
    log = log_of_lines(_bytes(_line(at=5), _line(at=3), _line(at=9)), "log")
    assert [request.at_s for request in log.requests] == [3.0, 5.0, 9.0]
    assert log.notes == ("the clock goes backwards at 1 of 3 lines: the requests are put in the order of their times",)


@pytest.mark.parametrize(("lines", "found"), [([], ": it is empty"), ([b"{"], "; line 1: ")])
def test_a_file_without_requests_is_an_error_that_says_what_belongs_there(lines: list[bytes], found: str) -> None:
    with pytest.raises(TraceError, match="Each line must be an object with at") as refused:
        log_of_lines(lines, "log")
    assert f"log: no request in it{found}" in str(refused.value)
