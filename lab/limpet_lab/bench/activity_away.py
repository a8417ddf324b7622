"""`limpet bench activity-away`: what requests notice of an activity service that is killed, and the records it keeps.

A gateway with its activity service over SQLite, and a steady load. In the middle the service is killed and stays away.
Times count from the moment at which a request was due, so that a pause of the gateway shows in all that it held up.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import ceil, inf
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import msgspec
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_activity.store.databases import parse_url
from limpet_activity.store.port import ActivityFilter, Position
from limpet_activity.store.sql_store import SqlStore
from limpet_lab.bed import Bed
from limpet_lab.bench.latency_load import MODEL, body
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.local import LocalSettings
from limpet_operator.laptop.machine import free_port

PHASES: Final = ("there", "killed", "back")
_WARM_UP_S: Final = 5.0
_QUARTERS: Final = 4
"""How far the p99 of a phase's quarters lie apart is the noise."""
_BYTES: Final = 2_000
_PATIENCE: Final = aiohttp.ClientTimeout(total=30.0)
_HANDED_OVER_S: Final = 60.0
"""After the load: records that waited for the service are in the store before that."""
_PAGE: Final = 500


class SentRequest(msgspec.Struct):
    """A request of the load."""

    due_s: float
    """Since the load began."""
    took_s: float
    """From when it was due."""
    status: int
    """0: there was no answer."""


class PhaseTimes(msgspec.Struct):
    """Of the requests that were due in one phase, in milliseconds."""

    phase: str
    requests: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    least_p99_ms: float
    """Of the quarters of the phase."""
    most_p99_ms: float
    failed: int


class AwayFigures(msgspec.Struct):
    """What the bench found."""

    per_second: int
    phases: list[PhaseTimes]
    sent: int
    kept: int
    """Requests with a record."""
    lost: int
    doubled: int
    """Records beyond the first one of a request."""


def activity_away(
    per_second: Annotated[int, typer.Option(help="Requests a second.", min=1)] = 200,
    seconds: Annotated[float, typer.Option(help="Before, without and after the service, each.", min=1)] = 20.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
) -> None:
    """Measure what requests notice of an activity service that is killed, and count lost and doubled records."""
    figures = asyncio.run(_measure(per_second, seconds))
    console = Console()
    console.print(_table(figures))
    console.print(
        f"{figures.sent:,} requests, {figures.kept:,} of them with a record: {figures.lost:,} lost, "
        f"{figures.doubled:,} doubled."
    )
    if json_file:
        json_file.write_text(json.dumps(msgspec.to_builtins(figures), indent=2) + "\n")
    if figures.lost or figures.doubled or any(each.failed for each in figures.phases):
        raise typer.Exit(1)


async def _measure(per_second: int, seconds: float) -> AwayFigures:
    seller = SellerConfig(name="seller", models=(SellerModel("flash"),), api_keys=("key-of-the-bench",))
    with tempfile.TemporaryDirectory(prefix="lmp-") as name:
        target, url = f"unix:{name}/activity.sock", f"sqlite:///{name}/activity.sqlite3"
        settings = LocalSettings(port=free_port(), extproc_flags=(f"--activity={target}",))
        async with (
            _service(Path(name), target, url) as service,
            Bed.start([seller], model=MODEL, settings=settings) as bed,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=_PATIENCE) as client,
        ):
            sent = await _load(client, bed.base_url, per_second, seconds, service)
            kept = await _kept(url, len(sent))
        return figures_of(sent, kept, per_second, seconds)


class _Service:
    """The activity service, which can be killed."""

    def __init__(self, children: Children, command: Sequence[str]) -> None:
        self._children = children
        self._command = command

    async def start(self) -> None:
        await self._children.start("activity", self._command)

    def kill(self) -> None:
        self._children.kill("activity")


@asynccontextmanager
async def _service(folder: Path, target: str, url: str) -> AsyncIterator[_Service]:
    children = Children(folder)
    program = (sys.executable, "-m", "limpet_activity")
    service = _Service(children, [*program, f"--listen={target}", f"--store={url}", "--log-level=warning"])
    try:
        await service.start()
        yield service
    finally:
        await children.stop()


async def _load(
    client: aiohttp.ClientSession, base_url: str, per_second: int, seconds: float, service: _Service
) -> list[SentRequest]:
    """Each is the first turn of a conversation of its own, by which its record is found."""
    sent: list[SentRequest] = []
    began = time.perf_counter()

    async def ask(number: int, due_s: float) -> None:
        status = 0
        headers = {"content-type": "application/json", "x-session-id": f"request-{number}"}
        try:
            async with client.post(
                f"{base_url}/chat/completions", data=body(number, _BYTES), headers=headers
            ) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        sent.append(SentRequest(due_s, time.perf_counter() - began - due_s, status))

    killed, back = _WARM_UP_S + seconds, _WARM_UP_S + 2 * seconds
    async with asyncio.TaskGroup() as group:
        for number in range(round((_WARM_UP_S + 3 * seconds) * per_second)):
            due_s = number / per_second
            if due_s >= killed:
                service.kill()
                killed = inf
            if due_s >= back:
                await service.start()
                back = inf
            await asyncio.sleep(max(0.0, began + due_s - time.perf_counter()))
            group.create_task(ask(number, due_s))
    return sent


async def _kept(url: str, wanted: int) -> Counter[str]:
    """Records by conversation, as soon as there are so many, or after a while."""
    deadline_s = time.monotonic() + _HANDED_OVER_S
    while True:
        found = await asyncio.to_thread(_records, url)
        if len(found) >= wanted or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(1.0)


def _records(url: str) -> Counter[str]:
    store = SqlStore(parse_url(url))
    try:
        found: Counter[str] = Counter()
        older: Position | None = None
        while True:
            page = store.page(ActivityFilter(), older, _PAGE)
            found.update(each.conversation for each in page.records if each.provider)
            if page.older is None:
                return found
            older = page.older
    finally:
        store.close()


def figures_of(sent: Sequence[SentRequest], kept: Counter[str], per_second: int, seconds: float) -> AwayFigures:
    """From what was sent, and how many records each conversation has."""
    begins = [_WARM_UP_S + number * seconds for number in range(len(PHASES))]
    phases = [
        _phase(name, [each for each in sent if begin <= each.due_s < begin + seconds], begin, seconds)
        for name, begin in zip(PHASES, begins, strict=True)
    ]
    lost, doubled = max(0, len(sent) - len(kept)), kept.total() - len(kept)
    return AwayFigures(per_second, phases, len(sent), len(kept), lost, doubled)


def _phase(name: str, sent: Sequence[SentRequest], begin_s: float, seconds: float) -> PhaseTimes:
    times = sorted(each.took_s for each in sent)
    quarters: list[list[float]] = [[] for _ in range(_QUARTERS)]
    for each in sent:
        quarters[int((each.due_s - begin_s) / seconds * _QUARTERS)].append(each.took_s)
    of_quarters = [_ms(sorted(each), 0.99) for each in quarters if each]
    return PhaseTimes(
        name,
        len(times),
        _ms(times, 0.5),
        _ms(times, 0.99),
        _ms(times, 1.0),
        min(of_quarters, default=0.0),
        max(of_quarters, default=0.0),
        sum(each.status != 200 for each in sent),
    )


def _ms(ascending: Sequence[float], part: float) -> float:
    """So many of them took no longer; 0: there are none."""
    return round(ascending[ceil(part * len(ascending)) - 1] * 1000, 2) if ascending else 0.0


def _table(figures: AwayFigures) -> Table:
    title = f"{figures.per_second} requests a second, milliseconds to an answer"
    shown = Table(title=title, box=SIMPLE)
    shown.add_column("the service is")
    for column in ("requests", "p50", "p99", "slowest", "p99 of its quarters", "failed"):
        shown.add_column(column, justify="right")
    for each in figures.phases:
        shown.add_row(
            each.phase,
            f"{each.requests:,}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.slowest_ms:.1f}",
            f"{each.least_p99_ms:.1f} to {each.most_p99_ms:.1f}",
            str(each.failed),
        )
    return shown
