"""The form of log lines: one JSON object each for machines, or plain text for a terminal."""

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""Fields of every record; others were added by the caller with `extra`."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, any traceback, and fields that the caller added.

    `always` are fields of every line.
    """

    def __init__(self, **always: str) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
            **{name: value for name, value in record.__dict__.items() if name not in _STANDARD},
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields, enc_hook=str).decode()


def log_to_stderr(level: str, style: str, **always: str) -> None:
    """Log to stderr from this level on; `style` is `json` or `text`, `always` goes into every JSON line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(**always) if style == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def print_line(line: str) -> None:
    """Print a line. Once the other end of the pipe is closed, print nothing more and go on serving."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
