"""Where records go besides the store, and what such a place has to be able to do."""

from collections.abc import Sequence
from typing import Protocol

from limpet_extproc.contract.activity import ActivityRecord


class ExportSettingsError(ValueError):
    """An exporter that was asked for and cannot be: the text says what is wrong, where, and what to do."""


class Exporter(Protocol):
    """Takes records and passes them on by itself."""

    name: str
    """In metrics and logs: `json_lines`, `otlp`."""

    def export(self, records: Sequence[ActivityRecord]) -> None:
        """Pass them on in a while. Never blocks and never raises: what there is no room for is counted as lost.

        From any thread. A record that is given twice is passed on twice, with the same id.
        """

    def close(self, within_s: float) -> None:
        """Pass on what waits, for so long, and take no more."""


class Sink(Protocol):
    """The other end: a file, a pipe, a collector. Used by one thread, which it may block."""

    def write(self, records: Sequence[ActivityRecord]) -> int:
        """How many of them were taken, from the first on; any error means none."""

    def interrupt(self) -> None:
        """From another thread: a `write` that waits to try again is to give up, as are all later ones."""

    def close(self) -> None:
        """Let go, after the last `write`."""
