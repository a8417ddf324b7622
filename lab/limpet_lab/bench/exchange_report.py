"""What a run of `limpet bench exchange` has found, and whether it is as it should be."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.exchange_clients import HungUp, WaitingClients
from limpet_lab.bench.exchange_counters import CALLS, ERRORS, STREAMS, broken_off, counters
from limpet_lab.bench.exchange_stalled import Stalls

MORE_MB: Final = 32.0
"""By so much the worker's memory may differ afterwards: what its allocator keeps of large bodies."""


@dataclass(frozen=True, slots=True)
class WorkerSize:
    """A worker at one moment."""

    rss_mb: float
    """With the process that reads large bodies for it."""
    connections: int
    """Open files that are Unix sockets."""
    calls: int
    """Of Envoy, under way."""

    def like(self, before: "WorkerSize") -> bool:
        """Whether it has come back to what it was."""
        smaller = self.connections <= before.connections and self.calls <= before.calls
        return smaller and self.rss_mb <= before.rss_mb + MORE_MB


@dataclass(slots=True)
class ExchangeRun:
    """One run."""

    minutes: float
    ordinary: WaitingClients = field(default_factory=WaitingClients)
    large: WaitingClients = field(default_factory=WaitingClients)
    hung_up: HungUp = field(default_factory=HungUp)
    unread: Stalls = field(default_factory=Stalls)
    no_window: Stalls = field(default_factory=Stalls)
    envoy: dict[str, int] = field(default_factory=dict)
    before: WorkerSize = WorkerSize(0, 0, 0)
    most: WorkerSize = WorkerSize(0, 0, 0)
    after: WorkerSize = WorkerSize(0, 0, 0)


async def worker_size(pid: int, admin_socket: Path) -> WorkerSize:
    """The worker now. Raises OSError if Envoy is away."""
    calls = (await counters(admin_socket)).get(STREAMS, 0)
    worker = psutil.Process(pid)
    family = [worker, *worker.children(recursive=True)]
    rss = sum(process.memory_info().rss for process in family)
    return WorkerSize(rss / 1e6, len(worker.net_connections(kind="unix")), calls)


def wrong(result: ExchangeRun) -> list[str]:
    """What did not hold, a line each."""
    return [*_clients(result), *_envoy(result), *_worker(result)]


def _clients(result: ExchangeRun) -> Iterator[str]:
    for name, asked in (("ordinary", result.ordinary), ("large", result.large)):
        if not asked.requests:
            yield f"no {name} request came to an end"
        if asked.failed:
            yield f"{asked.failed} {name} requests failed, the last with {asked.last_failure}"
        if asked.undecided:
            yield f"{asked.undecided} {name} requests were not decided"
    # Without these nothing would have been shown.
    for name, number in (
        ("hung up within a body", result.hung_up.in_body),
        ("hung up while waiting", result.hung_up.waiting),
        ("called and read nothing", result.unread.calls),
        ("called without a window", result.no_window.calls),
    ):
        if not number:
            yield f"nobody {name}"


def _envoy(result: ExchangeRun) -> Iterator[str]:
    if broken_off(result.envoy) <= 0:
        yield "no call was broken off"
    for name in ERRORS:
        if number := result.envoy.get(name, 0):
            yield f"Envoy counted {number} of {name}"


def _worker(result: ExchangeRun) -> Iterator[str]:
    if not result.after.like(result.before):
        yield f"the worker did not come back to what it was: {result.before}, then {result.after}"


def as_json(result: ExchangeRun) -> dict[str, Any]:
    """The figures of docs/benchmarks.md."""

    def asked(of: WaitingClients) -> dict[str, int]:
        return {"requests": of.requests, "failed": of.failed, "undecided": of.undecided}

    return {
        "minutes": result.minutes,
        "ordinary": asked(result.ordinary),
        "large": asked(result.large),
        "hung_up": asdict(result.hung_up),
        "stalled": {"unread": asdict(result.unread), "no_window": asdict(result.no_window)},
        "envoy": {name: number for name, number in sorted(result.envoy.items()) if number > 0 or name in ERRORS},
        "worker": {
            name: asdict(size)
            for name, size in (("before", result.before), ("most", result.most), ("after", result.after))
        },
        "wrong": wrong(result),
    }


def table(result: ExchangeRun) -> Table:
    """What people read."""
    shown = Table(title=f"{result.minutes:g} minutes", box=SIMPLE, show_header=False)
    shown.add_column()
    shown.add_column(justify="right")
    for name, asked in (("ordinary", result.ordinary), ("large", result.large)):
        shown.add_row(
            f"{name} requests: all, failed, undecided", _numbers(asked.requests, asked.failed, asked.undecided)
        )
    hung_up = result.hung_up
    shown.add_row(
        "hung up: within the body, while waiting, answered",
        _numbers(hung_up.in_body, hung_up.waiting, hung_up.answered),
    )
    for name, stalls in (("reading nothing", result.unread), ("without a window", result.no_window)):
        shown.add_row(f"{name}: calls, disconnected", _numbers(stalls.calls, stalls.disconnected))
    calls = result.envoy.get(CALLS, 0)
    broken = broken_off(result.envoy)
    shown.add_row("Envoy's calls; broken off by it; of a thousand", f"{calls:,}; {broken:,}; {_share(broken, calls)}")
    errors = sum(result.envoy.get(name, 0) for name in ERRORS)
    shown.add_row(
        f"Envoy's {len(ERRORS)} counters of errors; of a thousand calls", f"{errors:,}; {_share(errors, calls)}"
    )
    sizes = (result.before, result.most, result.after)
    shown.add_row("the worker's MB: before, most, after", " ".join(f"{size.rss_mb:.0f}" for size in sizes))
    shown.add_row("its Unix sockets: before, most, after", _numbers(*(size.connections for size in sizes)))
    shown.add_row("Envoy's calls under way: before, after", _numbers(result.before.calls, result.after.calls))
    return shown


def _numbers(*numbers: int) -> str:
    return " ".join(f"{number:,}" for number in numbers)


def _share(number: int, calls: int) -> str:
    return f"{1000 * number / calls:.2f}" if calls else "–"
