"""`limpet bench latency --memory`: whether the ext_proc worker keeps its size.

The steps: 100,000 requests of 12 KB that belong to 200 conversations; twenty bodies of 10 MB; and then a conversation
of its own for every request until there are more than the worker remembers, which is the most its memory can hold.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil
from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.latency_load import CONVERSATIONS, body
from limpet_lab.bench.latency_targets import Targets, ask
from limpet_lab.bench.latency_wrk import Load, WrkError, run

BAR_MB: Final = 150.0

_STEP: Final = 20_000
_STEPS: Final = 5
_LARGE_BYTES: Final = 10_000_000
_LARGE: Final = 20
_MORE_THAN_REMEMBERED: Final = 55_000
_CONNECTIONS: Final = 32
_SLICE_S: Final = 1


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """The worker's resident memory in 10^6 bytes after so many requests in all."""

    after: str
    requests: int
    rss_mb: float


async def measure(wrk: str, targets: Targets, bodies: Path, say: Callable[[str], None]) -> list[MemoryReading]:
    """Read the worker's memory before, between and after. Raises WrkError if any request failed."""
    worker = psutil.Process(targets.pids["extproc"])
    url = targets.urls["limpet"]
    load = Load(bodies, CONVERSATIONS, _CONNECTIONS, _SLICE_S)
    readings: list[MemoryReading] = []
    sent = 0

    def read(after: str) -> None:
        readings.append(MemoryReading(after, sent, worker.memory_info().rss / 1e6))
        say(f"{readings[-1].rss_mb:6.1f} MB after {after}")

    read("the start")
    for step in range(1, _STEPS + 1):
        while sent < step * _STEP:
            sent += await _good(wrk, url, load)
        read(f"{step * _STEP:,} requests of 12 KB")
    large = body(0, _LARGE_BYTES)
    for _ in range(_LARGE):
        status, _ = await asyncio.to_thread(ask, url, large)
        if status != 200:
            raise WrkError(f"a body of {_LARGE_BYTES:,} bytes was answered with {status}")
    sent += _LARGE
    read(f"{_LARGE} bodies of 10 MB")
    opened = 0
    while opened < _MORE_THAN_REMEMBERED:
        # Answers that wrk no longer waited for opened conversations too: a gap keeps the next numbers new.
        opened += await _good(wrk, url, replace(load, first_session=2 * opened + 1_000_000))
    sent += opened
    read(f"{_MORE_THAN_REMEMBERED:,} new conversations")
    return readings


async def _good(wrk: str, url: str, load: Load) -> int:
    done = await run(wrk, url, load)
    if done.failed:
        raise WrkError(f"{done.failed} of {done.requests} requests failed, so the figures mean nothing")
    return done.requests


def as_json(readings: list[MemoryReading]) -> list[dict[str, Any]]:
    """The readings in order."""
    return [{"after": each.after, "requests": each.requests, "rss_mb": round(each.rss_mb, 1)} for each in readings]


def table(readings: list[MemoryReading]) -> Table:
    """The readings, and whether the bar held."""
    worst = max(each.rss_mb for each in readings)
    outcome = "holds" if worst <= BAR_MB else "missed"
    shown = Table(
        title="memory of the ext_proc worker",
        box=SIMPLE,
        caption=f"at most {worst:.0f} MB; ≤ {BAR_MB:.0f} MB {outcome}",
    )
    shown.add_column("after")
    shown.add_column("requests in all", justify="right")
    shown.add_column("MB", justify="right")
    for each in readings:
        shown.add_row(each.after, f"{each.requests:,}", f"{each.rss_mb:.1f}")
    return shown
