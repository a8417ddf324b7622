"""One cell of a table: a target under load, by one connection and by many, and what that costs each part."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from limpet_lab.bench.latency_load import CONVERSATIONS
from limpet_lab.bench.latency_targets import Targets
from limpet_lab.bench.latency_wrk import Load, WrkRun, run

CONNECTIONS: Final = 32


class Place(NamedTuple):
    """Which cell."""

    round: int
    size: str
    target: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One target with one size of body in one round."""

    round: int
    size: str
    target: str
    one: WrkRun
    """By a single connection: latencies."""
    many: WrkRun
    """By many connections: how many a second, and what each costs."""
    cpu_s: Mapping[str, float]
    """CPU time of every part while `many` ran."""
    rss_mb: Mapping[str, float]
    """Resident memory of every part afterwards, in 10^6 bytes."""

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return self.one.failed + self.many.failed

    def cpu_us(self, part: str) -> float:
        """CPU time of a part, by request."""
        return self.cpu_s[part] * 1e6 / self.many.requests


async def take(place: Place, url: str, bodies: Path, seconds: int, wrk: str, targets: Targets) -> Cell:
    """Measure it. Raises WrkError."""
    parts = {part: psutil.Process(pid) for part, pid in targets.pids.items()}
    one = await run(wrk, url, Load(bodies, CONVERSATIONS, 1, seconds))
    before = {part: _cpu_s(process) for part, process in parts.items()}
    many = await run(wrk, url, Load(bodies, CONVERSATIONS, CONNECTIONS, seconds))
    cpu_s = {part: _cpu_s(process) - before[part] for part, process in parts.items()}
    rss_mb = {part: process.memory_info().rss / 1e6 for part, process in parts.items()}
    return Cell(*place, one, many, cpu_s, rss_mb)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
