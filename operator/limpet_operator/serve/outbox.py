"""What waits to be sent on a stream about health: bounded, whatever the other side does."""

from collections import deque
from typing import Final, Generic, TypeVar

MAX_UNSENT: Final = 200
"""Reports that wait, of some kilobytes each; the oldest are dropped for newer ones."""

MAX_UNSENT_BYTES: Final = 4 << 20
"""Of these reports together."""
MAX_REPORT_BYTES: Final = 256 << 10
"""Of one report; a longer one is not passed on. Most have some kilobytes."""

_Outgoing = TypeVar("_Outgoing")


class Outbox(Generic[_Outgoing]):
    """Messages of one stream that are not sent yet."""

    def __init__(self) -> None:
        self._verdicts: _Outgoing | None = None
        self._probes: deque[_Outgoing] = deque()
        self._reports: deque[tuple[_Outgoing, int]] = deque()
        self._bytes = 0

    def next(self) -> _Outgoing | None:
        """What to send now; None: nothing. Verdicts come first, then probes and their answers, then reports."""
        if self._verdicts is not None:
            verdicts, self._verdicts = self._verdicts, None
            return verdicts
        if self._probes:
            return self._probes.popleft()
        return self._next_report() if self._reports else None

    def put_verdicts(self, message: _Outgoing) -> None:
        """Send these in the place of verdicts that still wait."""
        self._verdicts = message

    def put_probe(self, message: _Outgoing) -> None:
        """Send a probe, or the answer to one. Whoever asks waits for few at a time, so they need no bound."""
        self._probes.append(message)

    def put_report(self, message: _Outgoing, size_bytes: int) -> int:
        """Send this report of a worker; returns how many of the oldest were dropped for it."""
        dropped = 0
        while self._reports and (len(self._reports) >= MAX_UNSENT or self._bytes + size_bytes > MAX_UNSENT_BYTES):
            self._next_report()
            dropped += 1
        self._reports.append((message, size_bytes))
        self._bytes += size_bytes
        return dropped

    def _next_report(self) -> _Outgoing:
        message, size_bytes = self._reports.popleft()
        self._bytes -= size_bytes
        return message
