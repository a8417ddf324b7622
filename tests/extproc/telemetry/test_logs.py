"""Log lines as machines read them."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from limpet_extproc.telemetry.logs import JsonLines


def line(record: logging.LogRecord, **always: str) -> Any:
    """What the formatter makes of it, decoded; always one line."""
    text = JsonLines(**always).format(record)
    assert "\n" not in text
    return json.loads(text)


def record(level: int, message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.getLogger("limpet_extproc").makeRecord(
        "limpet_extproc", level, "here.py", 1, message, args, None, extra=fields
    )
    made.created = 1_780_000_000.25
    return made


def test_a_line_has_time_level_logger_and_message() -> None:
    assert line(record(logging.WARNING, "%s is out:\n%s", "a", "down")) == {
        "time": "2026-05-28T20:26:40.250+00:00",
        "level": "warning",
        "logger": "limpet_extproc",
        "message": "a is out:\ndown",
    }


def test_fields_of_the_record_and_of_every_line_are_fields_of_the_object() -> None:
    seen = line(record(logging.INFO, "ready", revision="r1", socket=Path("/run/extproc-0.sock")), worker="0")
    assert (seen["revision"], seen["socket"], seen["worker"]) == ("r1", "/run/extproc-0.sock", "0")


def test_an_exception_comes_with_its_traceback() -> None:
    failed = record(logging.ERROR, "a request was let through")
    try:
        int("of ours")
    except ValueError:
        failed.exc_info = sys.exc_info()
    assert line(failed)["exception"].endswith("ValueError: invalid literal for int() with base 10: 'of ours'")


_PRINTS = """
import sys
from limpet_extproc.telemetry.logs import print_line
sys.stdin.read()
print_line("first")
print_line("second")
"""


def test_lines_that_nobody_reads_any_more_are_no_error() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _PRINTS], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
