"""The service, wired up and run on one loop until it is told to stop."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp

from limpet_activity.export.wiring import exporters
from limpet_activity.intake.intake import Intake
from limpet_activity.intake.metrics import IntakeMetrics
from limpet_activity.intake.server import start_servers, stop_servers
from limpet_activity.intake.store_health import StoreHealth
from limpet_activity.process.health_pages import health_routes
from limpet_activity.process.housekeeping import Housekeeping
from limpet_activity.process.settings import ActivitySettings
from limpet_activity.process.web_server import web_server
from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityStore
from limpet_activity.store.sql_store import SqlStore
from limpet_activity.store.taking import taking
from limpet_activity.web.app import web_app
from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.contract.registry import Registry

_log = logging.getLogger(__name__)

_GRACE_S: Final = 5.0
"""For batches under way when we stop."""
_EXPORT_S: Final = 3.0
"""For records that are still to be passed on then."""


async def serve(
    settings: ActivitySettings,
    environ: Mapping[str, str],
    stop: asyncio.Event,
    ready: Callable[[Sequence[str], Sequence[HostPort]], None],
    clock: Callable[[], float] = time.time,
) -> None:
    """Serve until `stop` is set; then what was accepted is written.

    `ready` is told where workers find it, and where its pages are, a port 0 having become one.

    Raises ListenError, TlsFilesError, ExportSettingsError, OSError or StoreError where it cannot start.
    """
    registry = Registry()
    metrics = IntakeMetrics(registry)
    health = StoreHealth(metrics)
    sql = None if settings.store is None else SqlStore(settings.store)
    store: ActivityStore = InMemoryStore() if sql is None else sql
    started = asyncio.Event()

    def trouble() -> str:
        return health.trouble or ("" if started.is_set() else "the store is being prepared")

    async with AsyncExitStack() as stack:
        # One thread writes, so that those who read never wait for more than one writer.
        writer = ThreadPoolExecutor(1, "writer")
        stack.callback(writer.shutdown)
        if sql is not None:
            stack.callback(sql.close)
        passed_on = exporters(settings.exports, environ, registry)
        for each in passed_on:
            stack.push_async_callback(asyncio.to_thread, each.close, _EXPORT_S)
        take = taking(store) if sql is None else sql.take_new
        intake = Intake(take, [each.export for each in passed_on], health, metrics, clock, writer)
        keeping = Housekeeping(store, sql, settings.limits, health, metrics, clock, writer)
        pages = [
            await stack.enter_async_context(web_server(app, where))
            for where, app in _pages(settings, store, trouble, registry, clock)
        ]
        stopping = asyncio.create_task(stop.wait())
        stack.callback(stopping.cancel)
        if not await _first(keeping.prepare(), stopping):
            return
        servers, places = await start_servers(settings.listen, settings.tls_dir, settings.gateway_name, intake, metrics)
        tasks = [asyncio.create_task(each) for each in (intake.run(), keeping.run())]
        started.set()
        ready(places, pages)
        await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await stop_servers(servers, _GRACE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _pages(
    settings: ActivitySettings,
    store: ActivityStore,
    trouble: Callable[[], str],
    registry: Registry,
    clock: Callable[[], float],
) -> Iterator[tuple[HostPort, ASGIApp]]:
    if settings.page is not None and settings.page_settings is not None:
        yield settings.page, web_app(store, settings.page_settings, clock)
    if settings.http is not None:
        yield settings.http, Starlette(routes=list(health_routes(trouble, registry)))
    if settings.probes is not None:
        yield settings.probes, Starlette(routes=list(health_routes(trouble, None)))


async def _first(work: Coroutine[None, None, None], stopping: "asyncio.Task[bool]") -> bool:
    """Whether this was done before we are to stop."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        return False
    task.result()
    return True


async def run(settings: ActivitySettings, environ: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # What rotates log files sends it; ours are opened again without.
    await serve(settings, environ, stop, lambda places, _: _log.info("taking records on %s", ", ".join(places)))
