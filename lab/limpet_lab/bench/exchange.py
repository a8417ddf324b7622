"""`limpet bench exchange`: whether the exchange between Envoy and a worker stays right under all that can disturb it.

A real gateway answers ordinary turns, while other clients hang up at random moments, one sends bodies as large as are
allowed, and two clients of the worker's own socket call it and read nothing. At the end Envoy's counters of its calls
to the worker must show no error, no request of those who wait may have failed or gone undecided, and the worker's
memory, connections and calls must be back where they were.

JSON (`--json FILE`), stable; memory in 10^6 bytes:

    {"minutes", "ordinary" | "large": {"requests", "failed", "undecided"},
     "hung_up": {"in_body", "waiting", "answered"},
     "stalled": {"unread" | "no_window": {"calls", "disconnected"}},
     "envoy": {counter: by how much it grew},
     "worker": {"before" | "most" | "after": {"rss_mb", "connections", "calls"}},
     "wrong": [what did not hold], "machine": {"cores", "python"}}
"""

import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Final

import typer
from rich.console import Console

from limpet_lab.bed import Bed
from limpet_lab.bench.exchange_clients import asking, hanging_up
from limpet_lab.bench.exchange_counters import counters, more
from limpet_lab.bench.exchange_report import ExchangeRun, WorkerSize, as_json, table, worker_size, wrong
from limpet_lab.bench.exchange_stalled import stalling
from limpet_lab.bench.latency_load import body
from limpet_lab.bench.latency_targets import ask, chat_url, configuration, start_envoy, upstream_config
from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.children import ChildDied, Children
from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser

_MIB: Final = 1 << 20
_ORDINARY_BYTES: Final = 12_000
_ORDINARY: Final = 4
_HANGING_UP: Final = 4
"""Clients at a time."""
_PAUSE_S: Final = 0.02
_HUNG_UP_PAUSE_S: Final = 0.1
_STALLED_PAUSE_S: Final = 0.02
_LARGE_PAUSE_S: Final = 2.0
"""Between two requests of a client. They leave time for others, as what is shown is what happens to an exchange, not
what happens when there are more of them than the machine can take."""
_WARM_UP_S: Final = 5.0
_LOOK_S: Final = 1.0
_SETTLE_S: Final = 60.0


@dataclass(slots=True)
class ExchangePlace:
    """A gateway that is up."""

    url: str
    gateway: LocalGateway
    worker_pid: int
    worker_socket: Path

    async def worker_size(self) -> WorkerSize:
        """The worker now. Raises OSError if Envoy is away."""
        return await worker_size(self.worker_pid, self.gateway.admin_socket)


@dataclass(slots=True)
class ExchangeBodies:
    """What is sent."""

    large_mib: int
    ordinary: list[bytes] = field(default_factory=lambda: [body(each, _ORDINARY_BYTES) for each in range(200)])

    @property
    def large(self) -> list[bytes]:
        """One body, the largest that is allowed."""
        return [body(1000, self.large_mib * _MIB)]

    @property
    def abandoned(self) -> list[bytes]:
        """Of several sizes, so that hanging up hits an exchange of one frame and of many."""
        return [body(2000 + each, size) for each, size in enumerate((2_000, 12_000, 12_000, 100_000, 1_000_000))]


def exchange(
    minutes: Annotated[float, typer.Option(help="How long the load lasts.", min=0.05)] = 10.0,
    large_mib: Annotated[int, typer.Option(help="Size of the large bodies in MiB.", min=1, max=31)] = 31,
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(help="Decides when clients hang up.")] = 1,
) -> None:
    """Load the exchange between Envoy and ext_proc with resets, large bodies and clients that do not read."""
    console = Console()
    try:
        rng = Random(seed)  # noqa: S311 (moments, not secrets)
        result = asyncio.run(_measured(minutes, ExchangeBodies(large_mib), rng))
    except (CannotStart, ChildDied, OSError) as error:
        print(f"limpet bench exchange: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    write_figures(json_file, {**as_json(result), "machine": machine})
    console.print(table(result))
    if found := wrong(result):
        console.print("\n".join(found))
        raise typer.Exit(1)
    console.print("All of it held.")


async def _measured(minutes: float, bodies: ExchangeBodies, rng: Random) -> ExchangeRun:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        async with _place(Path(folder)) as place:
            # What the worker keeps for good, such as its reader of large bodies, is there before it is measured.
            await asyncio.to_thread(ask, place.url, bodies.large[0])
            await _load(place, bodies, rng, ExchangeRun(0), _WARM_UP_S)
            before = await _settled(place, None)
            first = await counters(place.gateway.admin_socket)
            result = ExchangeRun(minutes, before=before)
            await _load(place, bodies, rng, result, minutes * 60)
            result.after = await _settled(place, before)
            result.envoy = more(first, await counters(place.gateway.admin_socket))
            return result


@asynccontextmanager
async def _place(folder: Path) -> AsyncIterator[ExchangePlace]:
    children, port, upstream_port = Children(folder), free_port(), free_port()
    try:
        await start_envoy(children, "upstream", upstream_config(upstream_port), 1, upstream_port)
        async with LocalGateway(LocalSettings(port=port)) as gateway:
            Bed(Sellers([]), gateway, Parser.load()).apply(configuration(upstream_port, rename=False))
            await gateway.ready()
            socket = Path(gateway.envoy.extproc_sockets[0])
            yield ExchangePlace(chat_url(port), gateway, gateway.children.pid("ext_proc"), socket)
    finally:
        await children.stop()


async def _load(place: ExchangePlace, bodies: ExchangeBodies, rng: Random, result: ExchangeRun, seconds: float) -> None:
    """All clients for so long; one that ends with an error ends the others, too."""
    large, abandoned = bodies.large, bodies.abandoned
    clients = [
        *(asking(place.url, bodies.ordinary[each::_ORDINARY], result.ordinary, _PAUSE_S) for each in range(_ORDINARY)),
        asking(place.url, large, result.large, _LARGE_PAUSE_S),
        *(hanging_up(place.url, abandoned, result.hung_up, rng, _HUNG_UP_PAUSE_S) for _ in range(_HANGING_UP)),
        stalling(place.worker_socket, 1 << 20, result.unread, _STALLED_PAUSE_S),
        stalling(place.worker_socket, 0, result.no_window, _STALLED_PAUSE_S),
        _watching(place, result),
    ]
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for each in clients:
                group.create_task(each)
    except TimeoutError:
        pass


async def _watching(place: ExchangePlace, result: ExchangeRun) -> None:
    while True:
        now = await place.worker_size()
        if now.rss_mb > result.most.rss_mb:
            result.most = now
        await asyncio.sleep(_LOOK_S)


async def _settled(place: ExchangePlace, before: WorkerSize | None) -> WorkerSize:
    """The worker once it is as before, or has had time for it; without a before, once its calls are those that stay."""
    now = await place.worker_size()
    for _ in range(int(_SETTLE_S / _LOOK_S)):
        await asyncio.sleep(_LOOK_S)
        last, now = now, await place.worker_size()
        if now.like(before or last) and now.calls == last.calls:
            break
    return now
