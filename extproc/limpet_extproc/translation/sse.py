"""Server-sent events while they come: the data of each, however the bytes are cut."""

from collections.abc import Iterator
from typing import Final

MAX_EVENT_BYTES: Final = 4 << 20
"""Of one event."""

_ENDS: Final = (b"\n", b"\r")
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLongError(ValueError):
    """An event is longer than any that an answer has."""


class EventReader:
    """The data of events, in the order they end; those without any are left out."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        """The beginning of a line, as it came."""
        self._data: list[bytes] = []
        """Of the present event."""
        self._size = 0
        """Bytes of both."""
        self._after_return = False
        """The second half of the last line's end may be yet to come."""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What ended with these bytes. Raises EventTooLongError."""
        if self._after_return and data:
            self._after_return = False
            data = data.removeprefix(b"\n")
        if not data:
            return
        for line in data.splitlines(keepends=True):
            self._size += len(line)
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLongError
            self._line.append(line)
            if line.endswith(_ENDS):
                yield from self._line_ended()
        self._after_return = data.endswith(b"\r")

    def end(self) -> Iterator[bytes]:
        """What the end of the stream ends."""
        yield from self._line_ended()
        yield from self._event_ended()

    def _line_ended(self) -> Iterator[bytes]:
        line = self._line[0] if len(self._line) == 1 else b"".join(self._line)
        self._line.clear()
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        line = line.rstrip(b"\r\n")
        if not line:
            yield from self._event_ended()
        elif line.startswith(b"data:"):
            self._data.append(line[5:].strip())

    def _event_ended(self) -> Iterator[bytes]:
        data = b"\n".join(self._data).strip()
        self._data.clear()
        self._size = 0
        if data:
            yield data
