"""One worker: everything that decides requests and learns from their outcomes, wired up and run on one loop."""

import asyncio
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import uvloop
from prometheus_client import generate_latest, start_http_server

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.certificate_expiry import show_certificate_expiry
from limpet_extproc.contract.envoy import ONE_MESSAGE, PROBE_SOCKET
from limpet_extproc.contract.registry import Registry
from limpet_extproc.contract.worker_status import WorkerReport
from limpet_extproc.decision.snapshot import EMPTY, Lane, Snapshot
from limpet_extproc.envoy import outcome, server
from limpet_extproc.envoy.calls import CallServer, Streaming, Unary
from limpet_extproc.envoy.cluster_names import names_asked_for
from limpet_extproc.envoy.decision_line import decision_line
from limpet_extproc.envoy.h2_frames import Request
from limpet_extproc.envoy.limited_requests import LimitedRequests
from limpet_extproc.envoy.spending import Spending
from limpet_extproc.memory.ledger import LedgerBook
from limpet_extproc.operator_link.catalog_client import StreamHooks, watch
from limpet_extproc.operator_link.event_queue import EventQueue
from limpet_extproc.operator_link.evidence import EvidenceReporter
from limpet_extproc.operator_link.health_link import HealthLink
from limpet_extproc.operator_link.probe_sender import ProbeSender
from limpet_extproc.process.activity import NAME_BYTES, ActivityNotes, activity_sender, record_names
from limpet_extproc.process.activity_sender import ActivitySender
from limpet_extproc.process.call_servers import call_server
from limpet_extproc.process.client_spend import ClientSpend, ledger_reader
from limpet_extproc.process.first_of import first_of
from limpet_extproc.process.health_hooks import health_hooks
from limpet_extproc.process.ledger_writer import ledger_writer
from limpet_extproc.process.local_http import Response, Routes, serve_http
from limpet_extproc.process.loop_lag import watch_loop
from limpet_extproc.process.memory_key import read_memory_key
from limpet_extproc.process.price_hours import PriceHours
from limpet_extproc.process.probe_ledger import CountedProbes
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.process.start_error import StartError, listening
from limpet_extproc.process.steady_clock import clock_zero_s, steady_clock
from limpet_extproc.process.translation import keep_translator, translator_command, translator_listener
from limpet_extproc.process.wiring import RoutingParts, WorkerContext, sticky_routing
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.health_states import HealthChange
from limpet_extproc.providers.reports import provider_reports
from limpet_extproc.providers.timeouts import TimeoutCount
from limpet_extproc.request.large_memory import give_back_large_memory
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.telemetry.logs import print_line
from limpet_extproc.telemetry.metrics import WorkerMetrics

_log = logging.getLogger(__name__)

_GRACE_S: Final = 1.0
"""For requests under way when we stop. Envoy's log streams never end unprompted, so all of it always passes."""

_SOCKET_UMASK: Final = 0o117
"""Sockets are all that a worker creates. Envoy may run as another user of the same group, as in a pod with fsGroup."""

HEALTH_METHOD: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"
_NOT_SERVING: Final = b"\x08\x02"
"""HealthCheckResponse with its one field: not worth a dependency."""


class Worker:
    """The parts of a worker, wired together."""

    def __init__(
        self,
        settings: WorkerSettings,
        build: Callable[[WorkerContext], RoutingParts] = sticky_routing,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock`: Unix time for all that is decided and remembered; by default one that never jumps."""
        wall = clock or time.time
        clock = clock or steady_clock(clock_zero_s() if settings.clock_zero_s is None else settings.clock_zero_s)
        self._settings = settings
        self._snapshot: Snapshot = EMPTY
        self._revision: str | None = None
        self._why: str | None = None
        self._turned_s = time.monotonic()
        self._translates = asyncio.Event()
        self.metrics = WorkerMetrics(Registry())
        if settings.tls_dir is not None:
            show_certificate_expiry(self.metrics.registry, settings.tls_dir)
        self._prices = PriceHours(self.metrics.prices, wall)
        # Keys of a memory that lives as long as this process need no secret that lives longer.
        secret = read_memory_key(settings.memory_key_file) if settings.memory_key_file else secrets.token_bytes(32)
        self._reader = RequestReader()
        self._events = EventQueue(self.metrics.gateway_events.labels("dropped").inc)
        book = LedgerBook()
        self._spending = Spending(self._lane, book, self.metrics, clock, lambda *spent: self._spend.add(*spent))
        self._ledger = ledger_writer(settings, book, clock, self._spending.settle)
        self._spend = ClientSpend(ledger_reader(settings), self._ledger.write, clock)
        self.routing = build(
            WorkerContext(
                settings,
                secret,
                self._reader.read,
                self._reader.untranslatable,
                self._reader.references,
                lambda: self._snapshot,
                self._known,
                self.metrics,
                self._provider_changed,
                self._events.add,
                clock,
                self._spend.usd,
            )
        )
        caches = CacheUses(clock)
        complaints, timeouts = Complaints(lambda: self._reporter.changed()), TimeoutCount(clock)
        tracker = self.routing.tracker
        self._reporter = EvidenceReporter(tracker, caches.refresh, complaints, timeouts.recent, clock)
        sender = ProbeSender(settings.socket.parent / PROBE_SOCKET)
        probes = CountedProbes(sender.send, lambda: self._snapshot, book, clock)
        hooks = health_hooks(self.routing, self.metrics, complaints, self._known, probes.send, clock)
        self._health_link = HealthLink(settings.control_plane, settings.node, self._events, hooks, settings.tls_dir)
        self.extproc = server.ExtProc(
            self.routing.router,
            self.metrics,
            lambda: self._snapshot is not EMPTY,
            lambda: self._snapshot.clients,
            self.routing.debugging,
            lambda name: provider.translated if (provider := self._snapshot.providers.get(name)) else (),
        )
        show = _log.info if settings.log_format == "json" else print_line
        verbose = (
            (lambda request: show(decision_line(request, time.strftime("%H:%M:%S")))) if settings.verbose else None
        )
        self._activity = self._activity_sender(caches, clock)
        notes = None
        if self._activity is not None:
            names = record_names(secrets.token_bytes(NAME_BYTES))
            notes = ActivityNotes(names, settings.node, self._lane, self._activity.add)
        limited = LimitedRequests(
            lambda: self._snapshot.limited, self.routing.limit_use.apply, lambda: self._snapshot.clients.limited
        )
        self.outcomes = outcome.Outcomes(
            self.routing.memory,
            self.routing.heads,
            self.routing.pins,
            tracker,
            limited,
            self.metrics,
            caches,
            complaints,
            timeouts,
            clock,
            self._reports_usage,
            verbose,
            self._spending,
            None if notes is None else notes.tell,
        )
        self._one = Unary(self.extproc.one)
        self._calls: Mapping[str, Unary | Streaming] = {
            server.METHOD: Streaming(self.extproc.process),
            outcome.METHOD: Streaming(self.outcomes.stream),
            HEALTH_METHOD: Unary(self._health),
        }

    def _activity_sender(self, caches: CacheUses, clock: Callable[[], float]) -> ActivitySender | None:
        settings = self._settings
        if settings.activity is None:
            return None
        # Of several workers none sees all conversations.
        uses = caches.refresh if settings.siblings == 1 else lambda: None
        states = self.routing.tracker.states
        reports = lambda: provider_reports(self._snapshot, states, uses())  # noqa: E731
        return activity_sender(settings, settings.activity, reports, self.metrics, clock)

    def take(self, catalog: Catalog) -> None:
        """Decide by this catalog from now on."""
        first = self._snapshot is EMPTY
        self._snapshot = self._prices.tables(catalog, self._snapshot)
        self.routing.limit_use.keep(self._snapshot.limited.keys() | self._snapshot.clients.limited.keys())
        self.routing.tracker.keep(self._snapshot.providers)
        self._revision = catalog.revision
        self._providers_changed()
        if self._snapshot.translates:
            self._translates.set()
        else:
            self._translates.clear()
        if first:
            # What has been allocated by now mostly stays: collecting it again and again would hold up requests.
            gc.collect()
            gc.freeze()
        self.metrics.catalog_time.set_to_current_time()

    def report(self) -> WorkerReport:
        """For the process that started this worker; from any thread."""
        return WorkerReport(self._revision, self._why, time.monotonic() - self._turned_s)

    async def run(self) -> None:
        """Serve until a signal ends it."""
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with self.routing.running():
            serving = await self._serve()
            socket_of_translator = self._settings.translator_socket
            try:
                self._serve_pages()
                with listening("--socket", socket_of_translator):
                    translating = translator_listener(socket_of_translator)
            except StartError:
                await serving.stop(grace=0.0)
                raise
            turning = asyncio.create_task(self._turn())
            beside = [
                asyncio.create_task(watch_loop(self.metrics.loop_lag.add)),
                asyncio.create_task(self._ledger.run()),
                asyncio.create_task(self._spend.run(lambda: self._snapshot.clients.budgets)),
            ]
            if self._activity is not None:
                beside.append(asyncio.create_task(self._activity.run()))
            try:
                # Shielded: until the end our parent is to see that the loop turns.
                await first_of(
                    self._watch(),
                    self._health_link.run(),
                    keep_translator(translating, self._translates, translator_command(self._settings.server)),
                    asyncio.shield(turning),
                    stopped.wait(),
                )
            finally:
                translating.close()
                socket_of_translator.unlink(missing_ok=True)
                await serving.stop(grace=_GRACE_S)
                turning.cancel()
                for task in beside:
                    task.cancel()
                await self._ledger.close()
                if self._activity is not None:
                    await self._activity.close()
                await self._reader.close()

    async def _serve(self) -> CallServer:
        # Without a connection there is no Envoy any more that carries requests.
        settings = self._settings
        serving = call_server(settings.server, self._find, on_alone=self.routing.limit_use.forget_under_way)
        with listening("--socket", settings.socket):
            await serving.start(settings.socket)
        return serving

    def _serve_pages(self) -> None:
        settings = self._settings
        if settings.metrics_port:
            with listening("--metrics-port", settings.metrics_port):
                start_http_server(settings.metrics_port, "127.0.0.1", self.metrics.registry)
        if settings.status_socket:
            routes: Routes = {
                "/status": lambda: Response(msgspec.json.encode(self.report())),
                "/metrics": lambda: Response(generate_latest(self.metrics.registry)),
            }
            with listening("--status-socket", settings.status_socket):
                serve_http(settings.status_socket, routes)

    def _find(self, request: Request) -> Unary | Streaming | None:
        if request.path == server.METHOD and ONE_MESSAGE in request.metadata:
            return self._one
        # Of an Envoy that is not ours.
        if (names := names_asked_for(request)) is not None:
            if request.path == server.METHOD:
                return Streaming(lambda call: self.extproc.process(call, names))
            if request.path == outcome.METHOD:
                return Streaming(lambda call: self.outcomes.stream(call, names))
        return self._calls.get(request.path)

    async def _health(self, _: bytes | memoryview) -> bytes:
        """For Envoy: without a catalog we could only let requests pass undecided; another worker may decide them."""
        return _SERVING if self._snapshot is not EMPTY else _NOT_SERVING

    async def _watch(self) -> None:
        settings = self._settings
        hooks = StreamHooks(connected=self._connected, lost=self._lost)
        await watch(
            settings.control_plane,
            settings.node,
            self.take,
            hooks,
            tls_dir=settings.tls_dir,
            reporter=self._reporter,
        )

    def _known(self, provider: str) -> bool:
        return provider in self._snapshot.providers or provider in self._snapshot.clients.limited

    def _connected(self, connected: bool) -> None:
        self.metrics.catalog_connected.set(connected)
        if connected:
            self._why = None

    def _lost(self, why: str) -> None:
        self._why = why

    def _lane(self, api: str, model: str) -> Lane | None:
        return self._snapshot.lanes.get((api, model))

    def _reports_usage(self, provider: str) -> bool:
        known = self._snapshot.providers.get(provider)
        return known is not None and known.always_reports_usage

    def _provider_changed(self, change: HealthChange) -> None:
        self._reporter.changed()
        self._providers_changed()
        self.metrics.health.changed(change.provider, change.model, change.now.trouble, change.now.cause)
        what = f"{change.provider}, model {change.model}," if change.model else change.provider
        if change.now.trouble is None:
            _log.info("%s is back", what)
        else:
            _log.info("%s is %s: %s", what, change.now.trouble, change.now.cause or "unknown")

    def _providers_changed(self) -> None:
        if self._activity is not None:
            self._activity.providers_changed()

    def turn(self) -> None:
        """Once a second: let prices follow the hour, enter bills, flush metrics, drop old health.

        And say how full providers are.
        """
        self._turned_s = time.monotonic()
        turned = self._prices.turned(self._snapshot)
        if turned is not self._snapshot:
            self._snapshot = turned
            self._providers_changed()
        for report in self.routing.limit_use.reports():
            self._events.add(report)
        self.metrics.show_limits(self.routing.limit_use.ratios(self._snapshot.limited))
        speeds = self.routing.tracker.take_speeds().items()
        self.metrics.speeds.show({of: (one.first_token_s, one.tokens_per_s) if one else None for of, one in speeds})
        self._spending.settle()
        self.metrics.flush()
        self.routing.tracker.sweep()

    async def _turn(self) -> None:
        while True:
            self.turn()
            await asyncio.sleep(1.0)


def run(
    settings: WorkerSettings,
    build: Callable[[WorkerContext], RoutingParts] = sticky_routing,
    clock: Callable[[], float] | None = None,
) -> None:
    """Run one worker until a signal ends it; the parameters are those of `Worker`. Raises StartError."""

    async def running() -> None:
        await Worker(settings, build, clock).run()

    with listening("--socket", settings.socket):
        settings.socket.unlink(missing_ok=True)
    os.umask(_SOCKET_UMASK)
    give_back_large_memory()
    uvloop.run(running())
