"""Taking records in so that what was new is known."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from limpet_activity.store.port import ActivityFilter, ActivityStore
from limpet_extproc.contract.activity import ActivityBatch, ActivityRecord


class Taken(NamedTuple):
    """What became of some batches."""

    new: Sequence[ActivityRecord]
    refused: int
    """Records that the store cannot keep."""
    too_old: int = 0
    """Records that are older than all that is kept, where the store has reached its size."""


Take: TypeAlias = Callable[[Sequence[ActivityBatch], float], Taken]
"""Keeps what is new of these batches at this time. Blocks. Raises StoreError if nothing was kept."""


def taking(store: ActivityStore) -> Take:
    """For a store that one thread writes to."""

    def take(batches: Sequence[ActivityBatch], now_s: float) -> Taken:
        before = store.last_number()
        new = store.take(batches, now_s)
        return Taken(store.taken_after(ActivityFilter(), before, new)[0] if new else (), 0)

    return take
