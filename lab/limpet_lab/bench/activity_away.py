"""`limpet bench activity-away`: what requests notice of an activity service that is killed, and the records it keeps.

A gateway with its activity service over SQLite, and a steady load: for a while with the service untouched, and then for
as long with one that is killed in the middle and stays away. Times count from the moment at which a request was due, so
that a pause of the gateway shows in all that it held up.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from math import inf
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import msgspec
import typer
from rich.console import Console

from limpet_activity.store.databases import parse_url
from limpet_activity.store.port import ActivityFilter, Position, StoreError
from limpet_activity.store.sql_store import SqlStore
from limpet_lab.bed import Bed
from limpet_lab.bench.activity_away_figures import AwayFigures, AwaySchedule, SentRequest, figures_of, table, verdict
from limpet_lab.bench.latency_load import MODEL, body
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.local import LocalSettings
from limpet_operator.laptop.machine import free_port

_BYTES: Final = 2_000
_PATIENCE: Final = aiohttp.ClientTimeout(total=30.0)
_HANDED_OVER_S: Final = 60.0
"""After the load: records that waited for the service are in the store before that."""
_PAGE: Final = 500
_STARTS_S: Final = 60.0


def activity_away(
    per_second: Annotated[int, typer.Option(help="Requests a second.", min=1)] = 200,
    seconds: Annotated[float, typer.Option(help="Before, without and after the service, each.", min=1)] = 20.0,
    rounds: Annotated[int, typer.Option(help="How often that is done, each time after as long without it.", min=1)] = 1,
    json_file: JsonFile = None,
) -> None:
    """Measure what requests notice of an activity service that is killed, and count lost and doubled records."""
    figures = asyncio.run(_measure(per_second, AwaySchedule(seconds, rounds)))
    console = Console()
    console.print(table(figures))
    console.print(verdict(figures))
    console.print(
        f"{figures.sent:,} requests, {figures.kept:,} of them with a record: {figures.lost:,} lost, "
        f"{figures.doubled:,} doubled."
    )
    if json_file:
        json_file.write_text(json.dumps(msgspec.to_builtins(figures), indent=2) + "\n")
    if figures.lost or figures.doubled or any(each.failed for each in figures.phases):
        raise typer.Exit(1)


async def _measure(per_second: int, schedule: AwaySchedule) -> AwayFigures:
    seller = SellerConfig(name="seller", models=(SellerModel("flash"),), api_keys=("key-of-the-bench",))
    with tempfile.TemporaryDirectory(prefix="lmp-") as name:
        target, url = f"unix:{name}/activity.sock", f"sqlite:///{name}/activity.sqlite3"
        settings = LocalSettings(port=free_port(), extproc_flags=(f"--activity={target}",))
        async with (
            _service(Path(name), target, url) as service,
            Bed.start([seller], model=MODEL, settings=settings) as bed,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=_PATIENCE) as client,
        ):
            sent = await _load(client, bed.base_url, per_second, schedule, service)
            kept = await _kept(url, len(sent))
        return figures_of(sent, kept, per_second, schedule)


class _Service:
    """The activity service, which can be killed."""

    def __init__(self, children: Children, command: Sequence[str]) -> None:
        self._children = children
        self._command = command

    async def start(self) -> None:
        await self._children.start("activity", self._command, background=True)  # As `limpet up` does again.

    def kill(self) -> None:
        self._children.kill("activity")


@asynccontextmanager
async def _service(folder: Path, target: str, url: str) -> AsyncIterator[_Service]:
    children = Children(folder)
    program = (sys.executable, "-m", "limpet_activity")
    service = _Service(children, [*program, f"--listen={target}", f"--store={url}", "--log-level=warning"])
    try:
        await service.start()
        await asyncio.to_thread(_await_socket, Path(target.removeprefix("unix:")))
        yield service
    finally:
        await children.stop()


def _await_socket(path: Path) -> None:
    """Returns when the service has opened it. Raises TimeoutError if it does not."""
    latest_s = time.monotonic() + _STARTS_S
    while not path.exists():
        if time.monotonic() > latest_s:
            raise TimeoutError(f"the activity service did not start in {_STARTS_S:.0f} s")
        time.sleep(0.05)


async def _load(
    client: aiohttp.ClientSession, base_url: str, per_second: int, schedule: AwaySchedule, service: _Service
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

    kills, starts = (iter([*schedule.begins("killed", phase), inf]) for phase in ("away", "back"))
    next_kill_s, next_start_s = next(kills), next(starts)
    async with asyncio.TaskGroup() as group:
        for number in range(round(schedule.ends_s * per_second)):
            due_s = number / per_second
            if due_s >= next_kill_s:
                service.kill()
                next_kill_s = next(kills)
            if due_s >= next_start_s:
                await service.start()
                next_start_s = next(starts)
            await asyncio.sleep(max(0.0, began + due_s - time.perf_counter()))
            group.create_task(ask(number, due_s))
    return sent


async def _kept(url: str, wanted: int) -> Counter[str]:
    """Records by conversation, as soon as there are so many, or after a while."""
    deadline_s = time.monotonic() + _HANDED_OVER_S
    while True:
        found = Counter[str]()
        with suppress(StoreError):  # A service that starts late has not made its tables yet.
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
