"""How the workers of one gateway are doing, judged by their reports: live, ready or hung, and when to restart them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

STALLED_S: Final = 5.0
"""A worker whose event loop has not turned for this long answers no request."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_SETTLED_S: Final = 30.0
"""A worker that lived this long has not failed to start."""

CHECK_EVERY_S: Final = 2.0
CHECKS: Final = 5
"""This many failed in a row mean that a worker hangs. Counted, as after a pause of the whole machine all are late."""
CHECKS_AT_START: Final = 30


class WorkerReport(msgspec.Struct, frozen=True):
    """A worker's answer to the process that started it."""

    revision: str | None
    """Of the catalog that decides; None: it has none yet."""
    why: str | None
    """Why no catalogs come at the moment; None: they do, or the first attempt has not ended."""
    turned_s_ago: float
    """Seconds since its event loop was seen turning."""


def next_pause_s(last_s: float, lived_s: float) -> float:
    """Seconds to wait before restarting a worker that ended after `lived_s`, having waited `last_s` the time before."""
    if lived_s >= _SETTLED_S or not last_s:
        return _FIRST_PAUSE_S
    return min(last_s * 2, _LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker as seen from outside."""

    number: int
    accepts: bool
    """Its socket for Envoy takes connections."""
    report: WorkerReport | None
    """None: it did not answer in time."""


def stalled(report: WorkerReport | None) -> bool:
    """Whether this report, or its absence, means that the worker hangs."""
    return report is None or report.turned_s_ago > STALLED_S


def why_not_live(workers: Sequence[WorkerStatus]) -> list[str]:
    """A line for each worker that Envoy cannot reach."""
    return [f"worker {worker.number}: its socket takes no connections" for worker in workers if not worker.accepts]


def why_not_ready(workers: Sequence[WorkerStatus]) -> list[str]:
    """A line for each worker that cannot decide, with the reason."""
    return [f"worker {worker.number}: {why}" for worker in workers if (why := _why_not_ready(worker)) is not None]


def _why_not_ready(worker: WorkerStatus) -> str | None:
    if not worker.accepts:
        return "its socket takes no connections"
    if worker.report is None:
        return "it does not answer"
    if worker.report.revision is None:
        return f"no catalog from the operator yet: {worker.report.why or 'waiting for the first'}"
    return None
