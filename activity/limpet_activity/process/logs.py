"""The form of log lines: one JSON object each for machines, or plain text for a terminal."""

import logging
from datetime import UTC, datetime
from typing import Final

import msgspec

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_QUIET: Final = ("alembic", "httpx", "uvicorn")


class JsonLogLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message and any traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def log_to_stderr(level: str, style: str) -> None:
    """Log to stderr from this level on; `style` is `json` or `text`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLogLines() if style == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
