"""Logs as one JSON object a line: time, level, logger, message, and whatever the caller added as `extra`."""

import logging
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

LEVELS: Final = ("debug", "info", "warning", "error")

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET: Final = {
    # Each of its watches logs at each attempt that the API server is away; we log it once.
    "kopf": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""Levels of the libraries' loggers, unless ours is debug."""


class JsonFormatter(logging.Formatter):
    """One line a record, whatever its message contains."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; an exception is the field `exception`, with its traceback."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _OWN and name not in entry}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


def log_as_json(level: str, stream: TextIO) -> None:
    """Have everything in this process log to the stream as JSON, from this level (one of LEVELS) on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        for name, quiet in _QUIET.items():
            logging.getLogger(name).setLevel(quiet)
