"""Records as lines of JSON, one each, for log shippers: to the standard output or to a file that may be rotated."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from limpet_activity.export.port import ExportSettingsError
from limpet_activity.store.objects import as_json
from limpet_extproc.contract.activity import ActivityRecord

STDOUT: Final = "-"
_STDOUT_FD: Final = 1
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE: Final = 0o640


def json_line(record: ActivityRecord) -> bytes:
    """One record with its newline."""
    return as_json(record) + b"\n"


class JsonLines:
    """A sink for lines.

    A file is opened anew as soon as another one, or none, stands at its path, so tools that rotate logs need not send a
    signal; it may be truncated in place too.
    """

    def __init__(self, target: str) -> None:
        """`target`: a path, or STDOUT. Raises ExportSettingsError where the file cannot be written."""
        self._path = None if target == STDOUT else Path(target)
        self._cut = False
        """The last line is not whole: the disk was full in the middle of it."""
        try:
            self._fd = _STDOUT_FD if self._path is None else os.open(self._path, _APPEND, _MODE)
        except OSError as error:
            raise ExportSettingsError(
                f"--json-lines {target}: cannot be written: {error.strerror}; name a file in a folder that exists and"
                f" that this user may write to, or {STDOUT} for the standard output"
            ) from error

    def write(self, records: Sequence[ActivityRecord]) -> int:
        """See `Sink`."""
        self._follow()
        lines = b"".join(map(json_line, records))
        data = b"\n" + lines if self._cut else lines
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            if not written:
                raise
        whole = data[:written].count(b"\n") - self._cut
        self._cut = not data[:written].endswith(b"\n")
        return whole

    def interrupt(self) -> None:
        """See `Sink`; there is nothing that it would try again by itself."""

    def close(self) -> None:
        """See `Sink`."""
        if self._path is not None:
            os.close(self._fd)

    def _follow(self) -> None:
        if self._path is None:
            return
        if _is_at(self._fd, self._path):
            self._cut = self._cut and os.fstat(self._fd).st_size > 0  # Truncated, it begins anew.
            return
        renamed, self._fd = self._fd, os.open(self._path, _APPEND, _MODE)
        os.close(renamed)
        self._cut = False


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
