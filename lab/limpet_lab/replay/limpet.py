"""Limpet's own rules: a production worker's parts, from the bytes of a request to its log entry, without Envoy."""

from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.snapshot import repriced, snapshot
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.envoy.limited_requests import LimitedRequests
from limpet_extproc.envoy.outcome import Outcomes
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.process.wiring import WorkerContext, sticky_routing
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.timeouts import TimeoutCount
from limpet_extproc.request.parsing import RequestHead, read
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.request.routing import Routing
from limpet_extproc.telemetry.metrics import WorkerMetrics
from limpet_lab.replay.bodies import body_of
from limpet_lab.replay.log_entries import log_of
from limpet_lab.replay.play import Tried
from limpet_lab.replay.requests import ReplayedRequest, ReplayedRequests

_HEAD: Final = RequestHead(OpenAIChat(), {"authorization": "Bearer replayed"})
_SECRET: Final = b"of a replay"
_EVERY_S: Final = 1.0
"""As a worker does it: states are swept, and prices follow the clock."""


class RefusedError(Exception):
    """Limpet refused a request; the message is the one that the client would get."""


class LimpetRules:
    """One worker that remembers in its process."""

    def __init__(self, catalog: Catalog, model: str, requests: ReplayedRequests) -> None:
        self._requests = requests
        self._model = model
        self._now_s = self._swept_s = 0.0
        self._records: dict[int, Record] = {}
        self._tables = snapshot(catalog, now_s=self._now_s)
        reader, metrics = RequestReader(), WorkerMetrics(CollectorRegistry())
        context = WorkerContext(
            settings=WorkerSettings(control_plane="", node="replay", socket=Path("replay.sock")),
            secret=_SECRET,
            read=_read,
            untranslatable=reader.untranslatable,
            references=reader.references,
            snapshot=lambda: self._tables,
            known=lambda provider: provider in self._tables.providers,
            metrics=metrics,
            provider_changed=lambda _change: None,
            concern=lambda _event: None,
            clock=lambda: self._now_s,
        )
        self._routing = sticky_routing(context)
        self._outcomes = Outcomes(
            self._routing.memory,
            self._routing.heads,
            self._routing.pins,
            self._routing.tracker,
            LimitedRequests(lambda: self._tables.limited, self._routing.limit_use.apply),
            metrics,
            CacheUses(context.clock),
            Complaints(lambda: None),
            TimeoutCount(context.clock),
            context.clock,
            lambda _provider: False,
        )

    async def order(self, request: ReplayedRequest, now_s: float) -> tuple[str, ...]:
        """See `ReplayedRules`. Raises RefusedError."""
        self._now_s = now_s
        if now_s - self._swept_s >= _EVERY_S:
            self._swept_s = now_s
            self._routing.tracker.sweep()
            self._tables = repriced(self._tables, now_s)
        routing = await self._routing.router.route(_HEAD, body_of(request, self._requests, self._model))
        if not isinstance(routing, Routing):
            raise RefusedError(routing.message)
        self._records[request.number] = routing.record
        return routing.decision.order

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        """See `ReplayedRules`."""
        self._now_s = now_s
        await self._outcomes.stream(log_of(request, self._records.pop(request.number), tried))


async def _read(head: RequestHead, body: bytes | memoryview) -> ParsedRequest | Refusal:
    """In this process, however long it is: no other request waits."""
    return read(head, bytes(body))
