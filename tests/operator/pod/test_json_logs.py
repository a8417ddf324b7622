"""Every line is one JSON object, whatever is logged."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from limpet_operator.pod.json_logs import JsonFormatter


def _record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("limpet.test").makeRecord(
        "limpet.test", logging.WARNING, "file.py", 1, message, arguments, None, extra=extra
    )


@pytest.mark.parametrize(
    ("message", "arguments", "extra", "expected"),
    [
        ("%s of %d", ("one", 2), {}, {"message": "one of 2"}),
        ('two\nlines "quoted" é\x00', (), {}, {"message": 'two\nlines "quoted" é\x00'}),
        ("with fields", (), {"kind": "Provider", "count": 3}, {"kind": "Provider", "count": 3}),
        ("an object", (), {"what": {1, 2}.__class__}, {"what": "<class 'set'>"}),
        ("no field takes the place of ours", (), {"level": "nonsense"}, {"level": "warning"}),
    ],
)
def test_what_a_line_holds(
    message: str, arguments: tuple[Any, ...], extra: dict[str, Any], expected: dict[str, Any]
) -> None:
    line = JsonFormatter().format(_record(message, *arguments, **extra))
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["logger"]) == ("warning", "limpet.test")
    assert entry["time"].endswith("+00:00")
    assert expected.items() <= entry.items()


def test_an_exception_is_a_field() -> None:
    try:
        int("wrong")
    except ValueError:
        record = _record("failed")
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "ValueError: invalid literal" in json.loads(line)["exception"]
    assert "\n" not in line


@pytest.mark.parametrize(("level", "logged"), [("info", ["ours"]), ("debug", ["ours", "kopf's"])])
def test_kopf_is_quiet_unless_everything_is_asked_for(level: str, logged: list[str]) -> None:
    script = f"""
import logging, sys
from limpet_operator.pod.json_logs import log_as_json
log_as_json({level!r}, sys.stdout)
logging.getLogger("limpet_operator").info("ours")
logging.getLogger("kopf._cogs.clients").error("kopf's")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == logged
    assert done.stderr == ""
