"""The service as one whole: it takes records and shows them, waits for its store, and stops without losing any."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from sqlalchemy import URL, make_url
from tests.activity.intake.taking import batch, hand_over
from tests.activity.store.answers import T0
from tests.waiting import until

from limpet_activity.export.wiring import ExportSettings
from limpet_activity.intake.server import ListenError
from limpet_activity.process.service import run, serve
from limpet_activity.process.settings import ActivitySettings
from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.sql_store import SqlStore
from limpet_activity.web.settings import PageSettings
from limpet_extproc.contract.host_port import HostPort

TOKEN = "limpet-page-0123456789abcdef"
OK = grpc.StatusCode.OK
LOOPBACK = HostPort("127.0.0.1", 0)


def settings(folder: Path, store: URL | None = None, *, listen: tuple[str, ...] | None = None) -> ActivitySettings:
    return ActivitySettings(
        store=store,
        listen=(f"unix:{folder}/a.sock",) if listen is None else listen,
        page=LOOPBACK,
        page_settings=PageSettings(TOKEN),
        http=LOOPBACK,
        probes=LOOPBACK,
        tls_dir=None,
        gateway_name="",
        limits=KeepLimits(days=30),
        exports=ExportSettings("", "0"),
        log_level="info",
        log_format="text",
    )


class Running:
    """A service on this loop."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.places: Sequence[str] = ()
        self.pages: Sequence[HostPort] = ()
        self.http = httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"})

    def is_ready(self, places: Sequence[str], pages: Sequence[HostPort]) -> None:
        self.places, self.pages = places, pages

    async def get(self, page: int, path: str) -> httpx.Response:
        """Of the page (0), of those for Prometheus (1) or of the probes (2)."""
        return await self.http.get(f"http://{self.pages[page]}{path}")


@asynccontextmanager
async def running(given: ActivitySettings) -> AsyncIterator[Running]:
    service = Running()
    task = asyncio.create_task(serve(given, {}, service.stop, service.is_ready, lambda: T0))
    async with service.http:
        await until(lambda: service.pages or task.done(), "the service")
        try:
            yield service
        finally:
            service.stop.set()
            await task


async def test_what_workers_hand_over_is_in_the_page_and_counted(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as service:
        assert service.places == [f"unix:{tmp_path}/a.sock"]
        assert await hand_over(service.places[0], batch(1, 2)) == (OK, "")
        shown = (await service.get(0, "/api/activity")).json()
        assert {record["id"] for record in shown["records"]} == {"r1", "r2"}
        assert (await service.get(1, "/readyz")).text == "ok\n"
        assert 'limpet_activity_intake_records_total{outcome="taken"} 2.0' in (await service.get(1, "/metrics")).text
        assert [(await service.get(2, path)).status_code for path in ("/livez", "/readyz", "/metrics")] == [
            200,
            200,
            404,
        ]


async def test_what_was_accepted_is_in_the_file_when_it_has_stopped(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/activity.sqlite3")
    async with running(settings(tmp_path, url)) as service:
        calls = [asyncio.create_task(hand_over(service.places[0], batch(number))) for number in range(20)]
        await asyncio.sleep(0)
        service.stop.set()
        answers = await asyncio.gather(*calls)
    accepted = [f"r{number}" for number, (code, _) in enumerate(answers) if code is OK]
    store = SqlStore(url, read_only=True)
    kept = {record.id for record in store.page(ActivityFilter(), None, 100).records}
    store.close()
    assert kept >= set(accepted)


async def test_a_database_that_is_away_is_waited_for_and_workers_find_nobody_until_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = make_url(f"postgresql+psycopg://limpet@127.0.0.1:{closed.getsockname()[1]}/limpet")
        service = Running()
        task = asyncio.create_task(serve(settings(tmp_path, url), {}, service.stop, service.is_ready, lambda: T0))
        await until(lambda: "refused" in caplog.text or task.done(), "a log line")
        assert not service.pages
        assert not (tmp_path / "a.sock").exists()
        service.stop.set()
        await asyncio.wait_for(task, 60)


async def test_a_place_that_is_taken_ends_it_with_a_sentence(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as first:
        with pytest.raises(ListenError, match=r"a\.sock"):
            await serve(settings(tmp_path), {}, asyncio.Event(), first.is_ready)


async def test_a_signal_stops_it(tmp_path: Path) -> None:
    task = asyncio.create_task(run(settings(tmp_path), {}))
    await until((tmp_path / "a.sock").exists, "the socket")
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(task, 60)
