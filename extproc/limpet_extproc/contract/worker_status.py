"""How the workers of one gateway are, judged from what they report: alive, ready, or hung, and when to start anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

STALLED_S: Final = 5.0
"""A worker whose event loop has not turned for so long answers no request."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_SETTLED_S: Final = 30.0
"""A worker that lived so long has not failed to start."""

CHECK_EVERY_S: Final = 2.0
CHECKS: Final = 5
"""So many failed in a row mean that a worker hangs. Counted, since after a pause of the whole machine all are late."""
CHECKS_AT_START: Final = 30


class Report(msgspec.Struct, frozen=True):
    """What a worker tells its parent."""

    revision: str | None
    """Of the catalog that decides; None: it has none yet."""
    why: str | None
    """Why no catalogs come at the moment; None: they do, or nothing is known yet."""
    turned_s_ago: float
    """Seconds since its event loop was seen turning."""


def next_pause_s(last_s: float, lived_s: float) -> float:
    """Seconds to wait before a worker is started again that ended after `lived_s`, having waited `last_s` before."""
    if lived_s >= _SETTLED_S or not last_s:
        return _FIRST_PAUSE_S
    return min(last_s * 2, _LONGEST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker as its parent sees it."""

    number: int
    accepts: bool
    """Its socket for Envoy takes connections."""
    report: Report | None
    """None: it gave no answer in time."""


def stalled(report: Report | None) -> bool:
    """Whether this answer, or none, speaks for a worker that hangs."""
    return report is None or report.turned_s_ago > STALLED_S


def why_not_live(workers: Sequence[Worker]) -> list[str]:
    """A line for each worker that Envoy cannot reach; empty: all is well."""
    return [f"worker {worker.number}: its socket takes no connections" for worker in workers if not worker.accepts]


def why_not_ready(workers: Sequence[Worker]) -> list[str]:
    """A line for each worker that cannot decide, and why; empty: all is well."""
    return [f"worker {worker.number}: {why}" for worker in workers if (why := _why_not_ready(worker)) is not None]


def _why_not_ready(worker: Worker) -> str | None:
    if not worker.accepts:
        return "its socket takes no connections"
    if worker.report is None:
        return "it does not answer"
    if worker.report.revision is None:
        return f"no catalog from the operator yet: {worker.report.why or 'waiting for the first'}"
    return None
