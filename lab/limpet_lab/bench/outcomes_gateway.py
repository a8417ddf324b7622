"""The gateway of `limpet bench outcomes`, and all that counts what passes it."""

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

import psutil

from limpet_activity.store.databases import parse_url
from limpet_activity.store.port import ActivityFilter, StoreError
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.state_folder import ACTIVITY_FILE
from limpet_lab.bed import Bed
from limpet_lab.bench.faults.shared_redis import SharedRedis
from limpet_lab.bench.latency import metrics_text
from limpet_lab.bench.latency_cell import CONNECTIONS
from limpet_lab.bench.latency_targets import chat_url, configuration, start_envoy, upstream_config
from limpet_lab.bench.outcomes_figures import (
    EnvoyCounts,
    OutcomesRun,
    WorkersCounts,
    counts_of,
    envoy_counts_of,
    largest,
)
from limpet_lab.bench.outcomes_load import SentLoad, send
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.activity import ActivityPlace
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.keeper import ask
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.laptop.state import prepared_state
from limpet_operator.resources.objects import Parser

_WARM_UP: Final = 200
_ARRIVES_S: Final = 60.0
"""After a load: all outcomes and records have arrived before that."""
_SETTLES_S: Final = 1.0
"""What then comes is one too many."""
_LOOK_S: Final = 0.05


class CountedGateway:
    """A running gateway with its activity service."""

    def __init__(self, gateway: LocalGateway, store: SqlStore) -> None:
        self._gateway = gateway
        self._store = store
        self._sent = 0

    async def run(self, requests: int, stopped_s: float) -> OutcomesRun:
        """Send so many requests and count what comes of them, while each worker in turn stops for so long."""
        before, envoy_before, records_before = await self._workers(), await self._envoy(), await self._records()
        load = SentLoad()
        loading = asyncio.create_task(self._send(requests, load))
        if stopped_s:
            workers = self._processes()
            for number, worker in enumerate(workers, 1):
                await self._stop(worker, stopped_s, load, requests * number // (len(workers) + 2))
        await loading
        after, envoy = await self._workers(), await self._envoy()
        workers_count = self._gateway.settings.extproc_workers
        return OutcomesRun(
            workers=workers_count,
            memory="own" if workers_count == 1 else "redis",
            stopped_s=stopped_s,
            sent=load.sent,
            failed=load.failed,
            undecided=load.undecided,
            slowest_s=round(load.slowest_s, 3),
            outcomes=after.outcomes - before.outcomes,
            records=await self._records() - records_before,
            entries_written=envoy.written - envoy_before.written,
            entries_dropped=envoy.dropped - envoy_before.dropped,
            entries_taken=after.entries - before.entries,
            shown_delay_s=largest(before.delay, after.delay),
            shown_lag_s=largest(before.lag, after.lag),
        )

    async def warm_up(self) -> None:
        """Open the connections, so that no run does."""
        await self._send(_WARM_UP, SentLoad())

    async def _send(self, requests: int, load: SentLoad) -> None:
        """Return when all outcomes and records have arrived, or long have not."""
        self._sent += requests
        await send(chat_url(self._gateway.settings.port), requests, CONNECTIONS, load)

        async def all_arrived() -> bool:
            return (await self._workers()).outcomes >= self._sent and await self._records() >= self._sent

        await _until(all_arrived, _ARRIVES_S)
        await asyncio.sleep(_SETTLES_S)

    async def _stop(self, worker: psutil.Process, stopped_s: float, load: SentLoad, after_requests: int) -> None:
        await _until(lambda: load.sent >= after_requests)
        worker.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(stopped_s)
        finally:
            worker.send_signal(signal.SIGCONT)

    def _processes(self) -> Sequence[psutil.Process]:
        extproc = psutil.Process(self._gateway.children.pid("ext_proc"))
        return [extproc] if self._gateway.settings.extproc_workers == 1 else extproc.children()

    async def _workers(self) -> WorkersCounts:
        return counts_of(await asyncio.to_thread(metrics_text, self._gateway.settings.extproc_metrics_port))

    async def _envoy(self) -> EnvoyCounts:
        page = None
        while page is None:  # A busy Envoy may take longer than is waited for.
            page = await ask(self._gateway.admin_socket, "/stats?filter=^access_logs.grpc_access_log")
        return envoy_counts_of(page.decode())

    async def _records(self) -> int:
        try:
            return (await asyncio.to_thread(self._store.sums, ActivityFilter())).requests
        except StoreError:  # A service that starts late has not made its tables yet.
            return 0


@asynccontextmanager
async def counted_gateway(workers: int, folder: Path) -> AsyncIterator[CountedGateway]:
    """One with so many workers; two remember in a Redis. Raises RedisMissingError, CannotStart or ChildDied."""
    async with AsyncExitStack() as running:
        flags: tuple[str, ...] = ()
        if workers > 1:
            redis = await running.enter_async_context(SharedRedis(folder))
            key = folder / "memory-key"
            key.write_bytes(b"the same for all workers of the bench")
            flags = (f"--redis-url={redis.url}", f"--memory-key-file={key}")
        children = Children(folder)
        running.push_async_callback(children.stop)
        upstream_port = free_port()
        await start_envoy(children, "upstream", upstream_config(upstream_port), 1, upstream_port)
        state = prepared_state({}, folder)
        settings = LocalSettings(
            port=free_port(),
            extproc_metrics_port=free_port(),
            extproc_workers=workers,
            extproc_flags=flags,
            activity=ActivityPlace(state, free_port()),
        )
        gateway = await running.enter_async_context(LocalGateway(settings))
        Bed(Sellers([]), gateway, Parser.load()).apply(configuration(upstream_port, rename=False))
        await gateway.ready()
        store = SqlStore(parse_url(f"sqlite:///{state / ACTIVITY_FILE}"))
        running.callback(store.close)
        yield CountedGateway(gateway, store)


async def _until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], longest_s: float = inf) -> None:
    """Return when it holds, or after so long."""
    latest_s = monotonic() + longest_s
    while monotonic() < latest_s:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        await asyncio.sleep(_LOOK_S)
