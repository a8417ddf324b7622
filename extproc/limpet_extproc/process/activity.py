"""A worker's side of the activity service, if it has one: made of its settings, and of what it knows."""

from collections.abc import Callable, Iterator
from typing import Final

from limpet_extproc.contract.activity import ActivityRecord, ProviderReport
from limpet_extproc.envoy.activity_entry import EndedRequest, activity_record
from limpet_extproc.envoy.log_messages import Entry
from limpet_extproc.envoy.spending import LaneOf
from limpet_extproc.operator_link.activity_channel import ActivityChannel
from limpet_extproc.process.activity_buffer import ActivityBuffer, BatchSource
from limpet_extproc.process.activity_sender import ActivitySender
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.telemetry.metrics import WorkerMetrics

NAME_BYTES: Final = 10
"""Random ones that begin the names of a worker's records: no two workers ever begin them alike."""

_NO_REPORTS: Final = ()


def record_names(beginning: bytes) -> Iterator[str]:
    """A name for each record of this worker, hexadecimal."""
    prefix, number = beginning.hex(), 0
    while True:
        number += 1
        yield f"{prefix}{number:012x}"


class ActivityNotes:
    """Makes the record of each request that ends."""

    def __init__(
        self, names: Iterator[str], gateway: str, lane_of: LaneOf, add: Callable[[ActivityRecord], None]
    ) -> None:
        self._names = names
        self._gateway = gateway
        self._lane_of = lane_of
        self._add = add

    def tell(self, entry: Entry, ended: EndedRequest) -> None:
        """One has ended."""
        record = ended.record
        lane = None if record is None else self._lane_of(record.api, record.model)
        self._add(activity_record(entry, ended, lane, next(self._names), self._gateway))


def activity_sender(
    settings: WorkerSettings,
    target: str,
    reports: Callable[[], tuple[ProviderReport, ...]],
    metrics: WorkerMetrics,
    clock: Callable[[], float],
) -> ActivitySender:
    """As this worker is to hand its records over. The first of several tells how providers are doing, for all."""
    number = settings.worker or 0
    return ActivitySender(
        ActivityBuffer(BatchSource(settings.node, number, clock())),
        ActivityChannel(target, settings.tls_dir),
        reports if number == 0 else lambda: _NO_REPORTS,
        metrics.activity(),
        clock,
    )
