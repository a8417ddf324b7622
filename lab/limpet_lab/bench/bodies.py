"""`limpet bench bodies`: what the worst bodies cost ext_proc, and what other requests notice of them.

A real gateway gets each of `SHAPES` at the largest size that it takes, while another client goes on asking. CPU and
memory are those of the worker and of the process in which it reads large bodies, together.
"""

import asyncio
import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import psutil
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_lab.bench.bodies_shapes import SHAPES
from limpet_lab.bench.latency_load import body
from limpet_lab.bench.latency_targets import ask, running
from limpet_lab.demo.json_file import JsonFile

BAR_S: Final = 1.0
BAR_TIMES: Final = 4.0
BAR_OTHERS_MS: Final = 50.0

_MIB: Final = 1 << 20
_LARGEST: Final = 31
_OTHERS_BYTES: Final = 12_000
_OTHERS_PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Cost:
    """What one body cost."""

    shape: str
    size_mb: float
    status: int
    cpu_s: float
    wall_s: float
    memory_mb: float
    """Resident memory of both processes at its peak, above what they had before."""
    others_p99_ms: float
    others: int
    """Requests of another client that were answered during that time."""

    @property
    def times(self) -> float:
        """The memory as a multiple of the body's size."""
        return self.memory_mb / self.size_mb


@dataclass(slots=True)
class Others:
    """Another client, which sends one request after the other."""

    url: str
    waits_s: list[float] = field(default_factory=list)
    failed: int = 0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Send requests while the block runs."""
        enough = Event()
        thread = Thread(target=self._ask, args=(enough,))
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def _ask(self, enough: Event) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        text = body(0, _OTHERS_BYTES)
        while not enough.is_set():
            began = time.perf_counter()
            connection.request("POST", parts.path, text, {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            self.waits_s.append(time.perf_counter() - began)
            self.failed += response.status != 200
            enough.wait(_OTHERS_PAUSE_S)
        connection.close()


def bodies(
    mib: Annotated[int, typer.Option(help="Size of each body in MiB.", min=2, max=_LARGEST)] = _LARGEST,
    json_file: JsonFile = None,
) -> None:
    """Measure what the worst bodies cost, in CPU, memory and others' time."""
    console = Console()
    costs = asyncio.run(_measure(mib * _MIB, console))
    console.print(_table(costs))
    if json_file:
        json_file.write_text(json.dumps(as_json(costs), indent=2) + "\n")


async def _measure(size: int, console: Console) -> list[Cost]:
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        async with running(Path(folder), concurrency=1, rename=True) as targets:
            url, worker = targets.urls["limpet"], psutil.Process(targets.pids["extproc"])
            # The process that reads large bodies starts with the first of them.
            await asyncio.to_thread(ask, url, next(iter(SHAPES.values()))(2 * _MIB))
            for name, shape in SHAPES.items():
                cost = await asyncio.to_thread(_cost, name, shape(size), url, worker)
                costs.append(cost)
                console.print(
                    f"{cost.cpu_s:6.2f} s {cost.memory_mb:6.0f} MB {cost.others_p99_ms:6.0f} ms  {cost.status}  {name}"
                )
    return costs


def _cost(name: str, text: bytes, url: str, worker: psutil.Process) -> Cost:
    processes = [worker, *worker.children(recursive=True)]
    before = _rss_and_forget_peak(processes)
    cpu_s, others = _cpu_s(processes), Others(url)
    with others.asking():
        began = time.perf_counter()
        status, _ = ask(url, text)
        wall_s = time.perf_counter() - began
    waits_s = sorted(others.waits_s)
    return Cost(
        shape=name,
        size_mb=len(text) / 1e6,
        status=status,
        cpu_s=_cpu_s(processes) - cpu_s,
        wall_s=wall_s,
        memory_mb=(sum(map(_peak_bytes, processes)) - before) / 1e6,
        others_p99_ms=waits_s[int(len(waits_s) * 0.99)] * 1000,
        others=len(waits_s),
    )


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _rss_and_forget_peak(processes: list[psutil.Process]) -> int:
    for process in processes:
        # proc(5): 5 resets the peak of the resident memory to what it is now.
        Path("/proc", str(process.pid), "clear_refs").write_text("5")
    return sum(process.memory_info().rss for process in processes)


def _peak_bytes(process: psutil.Process) -> int:
    status = Path("/proc", str(process.pid), "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def as_json(costs: list[Cost]) -> list[dict[str, Any]]:
    """The figures in the order of the shapes."""
    return [{**asdict(cost), "times": cost.times} for cost in costs]


def _table(costs: list[Cost]) -> Table:
    worst_s, worst_times = max(cost.cpu_s for cost in costs), max(cost.times for cost in costs)
    others_ms = max(cost.others_p99_ms for cost in costs)
    bars = (
        f"CPU ≤ {BAR_S:.0f} s {_outcome(worst_s, BAR_S)}, memory ≤ {BAR_TIMES:.0f} times the size "
        f"{_outcome(worst_times, BAR_TIMES)}, others' p99 ≤ {BAR_OTHERS_MS:.0f} ms {_outcome(others_ms, BAR_OTHERS_MS)}"
    )
    table = Table(title="one body at a time", box=SIMPLE, caption=bars)
    table.add_column("shape")
    for column in ("MB", "status", "CPU s", "in all s", "memory MB", "times", "others' p99 ms"):
        table.add_column(column, justify="right")
    for cost in costs:
        table.add_row(
            cost.shape,
            f"{cost.size_mb:.0f}",
            str(cost.status),
            f"{cost.cpu_s:.2f}",
            f"{cost.wall_s:.2f}",
            f"{cost.memory_mb:.0f}",
            f"{cost.times:.1f}",
            f"{cost.others_p99_ms:.0f}",
        )
    return table


def _outcome(worst: float, bar: float) -> str:
    return "holds" if worst <= bar else "missed"
