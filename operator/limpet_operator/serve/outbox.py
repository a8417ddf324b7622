"""What waits to be sent on a stream about health: bounded, whatever the other side does."""

from collections import deque
from typing import Final, Generic, TypeVar

MAX_UNSENT: Final = 200
"""Reports that wait, of some kilobytes each; the oldest are dropped for newer ones."""

_Outgoing = TypeVar("_Outgoing")


class Outbox(Generic[_Outgoing]):
    """Messages of one stream that are not sent yet."""

    def __init__(self) -> None:
        self._verdicts: _Outgoing | None = None
        self._probes: deque[_Outgoing] = deque()
        self._reports: deque[_Outgoing] = deque()

    def next(self) -> _Outgoing | None:
        """What to send now; None: nothing. Verdicts come first, then probes and their answers, then reports."""
        if self._verdicts is not None:
            verdicts, self._verdicts = self._verdicts, None
            return verdicts
        for waiting in (self._probes, self._reports):
            if waiting:
                return waiting.popleft()
        return None

    def put_verdicts(self, message: _Outgoing) -> None:
        """Send these in the place of verdicts that still wait."""
        self._verdicts = message

    def put_probe(self, message: _Outgoing) -> None:
        """Send a probe, or the answer to one. Whoever asks waits for few at a time, so they need no bound."""
        self._probes.append(message)

    def put_report(self, message: _Outgoing) -> bool:
        """Send this report of a worker; False: the oldest one was dropped for it."""
        fits = len(self._reports) < MAX_UNSENT
        if not fits:
            self._reports.popleft()
        self._reports.append(message)
        return fits
