"""What a worker has still to hand over to the activity service: encoded batches, bounded by their bytes."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.activity import (
    MOST_RECORDS,
    VERSION,
    ActivityBatch,
    ActivityRecord,
    ProviderReport,
    encode_batch,
)

MOST_BYTES: Final = 32 * 1024 * 1024
"""That wait in one worker. A record is less than a kilobyte: room for three minutes at 200 requests a second."""


class BatchSource(msgspec.Struct, frozen=True):
    """Whose batches these are: what is the same in all of them."""

    gateway: str
    worker: int
    started_s: float


class SealedBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch as it is sent, again and again until it is taken."""

    data: bytes
    records: int


class ActivityBuffer:
    """The records of ended requests that nobody has taken yet. Beyond the bound the oldest are dropped, and counted."""

    def __init__(self, source: BatchSource, most_bytes: int = MOST_BYTES) -> None:
        self._source = source
        self._most_bytes = most_bytes
        self._open: list[ActivityRecord] = []
        self._sealed: deque[SealedBatch] = deque()
        self._bytes = 0
        self._now_s = source.started_s
        self.dropped = 0
        """Records that nobody gets."""

    @property
    def waiting_bytes(self) -> int:
        """Of all sealed batches."""
        return self._bytes

    @property
    def waiting(self) -> int:
        """Records that nobody has taken yet."""
        return len(self._open) + sum(batch.records for batch in self._sealed)

    def add(self, record: ActivityRecord) -> None:
        """One more has ended."""
        self._open.append(record)
        if len(self._open) >= MOST_RECORDS:
            self.seal(self._now_s)

    def seal(self, now_s: float, providers: Sequence[ProviderReport] = ()) -> None:
        """Make a batch of what was added since the last one, if there is anything."""
        self._now_s = now_s
        if not self._open and not providers:
            return
        source = self._source
        batch = ActivityBatch(
            VERSION, source.gateway, source.worker, self.dropped, source.started_s, self._open, providers, now_s
        )
        self._append(SealedBatch(encode_batch(batch), len(self._open)))
        self._open = []

    def oldest(self) -> SealedBatch | None:
        """The one to be sent; it stays until it is `taken` or `refused`. None: there is none."""
        return self._sealed[0] if self._sealed else None

    def taken(self) -> None:
        """The oldest need not wait any more."""
        self._remove(0)

    def refused(self) -> None:
        """The oldest will never be taken."""
        self.dropped += self._remove(0)

    def _append(self, batch: SealedBatch) -> None:
        self._sealed.append(batch)
        self._bytes += len(batch.data)
        while self._bytes > self._most_bytes and len(self._sealed) > 1:
            # The very oldest may be on its way.
            self.dropped += self._remove(1)

    def _remove(self, at: int) -> int:
        batch = self._sealed[at]
        del self._sealed[at]
        self._bytes -= len(batch.data)
        return batch.records
