"""How the workers of one gateway are, judged from what they report: alive, ready, or hung."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

STALLED_S: Final = 5.0
"""A worker whose event loop has not turned for so long answers no request."""


class Report(msgspec.Struct, frozen=True):
    """What a worker tells its parent."""

    revision: str | None
    """Of the catalog that decides; None: it has none yet."""
    why: str | None
    """Why no catalogs come at the moment; None: they do, or nothing is known yet."""
    turned_s_ago: float
    """Seconds since its event loop was seen turning."""


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
