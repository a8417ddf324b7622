"""The catalog stream: tells every ext_proc worker what it may choose from, which is never more than its own Envoy has.

The other side is `limpet_extproc.operator_link.catalog_client`; what travels is `limpet_extproc.contract.catalog`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Container
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from limpet_extproc.contract.catalog import (
    WATCH_METHOD,
    Catalog,
    ContractMismatch,
    Evidence,
    Health,
    Hello,
    catalog_of,
    decode_report,
    encode,
)
from limpet_operator.serve.acknowledgements import Acknowledgements, PeerReports
from limpet_operator.serve.change_set import ChangeSet
from limpet_operator.serve.metrics import ControlPlaneMetrics
from limpet_operator.serve.tasks import OpenStreams

_log = logging.getLogger(__name__)


def announce(catalog: Catalog, acked_names: Collection[str]) -> Catalog:
    """The catalog for the workers beside one Envoy: only providers whose cluster that Envoy has, in whatever version.

    Workers beside Envoys that have the same see the same revision.
    """
    providers = tuple(provider for provider in catalog.providers if provider.name in acked_names)
    if len(providers) == len(catalog.providers):
        return catalog
    return catalog_of(providers, catalog.policies)


def _hello(data: bytes) -> Hello:
    report = decode_report(data)
    if isinstance(report, Hello):
        return report
    raise ContractMismatch("a data plane's first word must be Hello: run the same Limpet version on both sides")


def _names(catalog: Catalog) -> frozenset[str]:
    return frozenset(provider.name for provider in catalog.providers)


@dataclass(eq=False, slots=True)
class _Watcher:
    """One connected worker."""

    gateway: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: Catalog | None = None
    seen: Catalog | None = None
    """What decides there now; None: unknown, it may have a catalog of an earlier connection."""

    evidence: dict[str, Evidence] = field(default_factory=dict)
    """What its traffic says of the providers."""

    @property
    def ready(self) -> bool:
        """Whether it has taken what it was sent; newer catalogs replace each other until then."""
        return self.sent is self.seen


class CatalogServer:
    """Serves the newest catalog to every connected worker. All methods belong to the event loop that serves."""

    def __init__(
        self, acks: Acknowledgements, peers: PeerReports, changes: ChangeSet, metrics: ControlPlaneMetrics
    ) -> None:
        """`changes` takes the providers of which workers report something new, and that workers decide differently."""
        self._acks = acks
        self._peers = peers
        self._changes = changes
        self._metrics = metrics
        self._catalog: Catalog | None = None
        self._last: tuple[Catalog, frozenset[str], Catalog] | None = None
        self._watchers: set[_Watcher] = set()
        self._open = OpenStreams()
        self._changed = asyncio.Event()

    def publish(self, catalog: Catalog) -> None:
        """Announce from this catalog on. Until the first call workers keep what they have."""
        self._catalog = catalog
        self._metrics.catalog_revision.info({"revision": catalog.revision})
        for watcher in self._watchers:
            watcher.wake.set()
        self._changes.add()

    @property
    def planned(self) -> frozenset[str] | None:
        """The providers of the newest catalog; None: there is none yet."""
        return None if self._catalog is None else _names(self._catalog)

    @property
    def deciding(self) -> int:
        """Connected workers that decide by a catalog of ours."""
        return sum(watcher.seen is not None for watcher in self._watchers)

    def acks_changed(self, gateway: str) -> None:
        """The Envoy of this node has more or less than before."""
        for watcher in self._watchers:
            if watcher.gateway == gateway:
                watcher.wake.set()

    def agreement_changed(self) -> None:
        """Other replicas have said more about what their workers decide by, or have left."""
        self._changed.set()

    def deciding_by(self, names: AbstractSet[str], beside: Container[str] | None = None) -> frozenset[str]:
        """Those of these providers by which a connected worker may decide, or only a worker beside one of these nodes.

        A worker that has not said what it decides by may decide by all of them, unless nobody knows its Envoy either.
        """
        found: set[str] = set()
        for watcher in self._watchers:
            if beside is not None and watcher.gateway not in beside:
                continue
            if watcher.sent is not None and watcher.seen is not None:
                found |= names & (_names(watcher.seen) | _names(watcher.sent))
            elif watcher.sent is not None or self._clusters(watcher.gateway) is not None:
                return frozenset(names)
        return frozenset(found)

    def evidence(self, provider: str) -> list[Evidence]:
        """What each connected worker says of it that knows anything."""
        return [watcher.evidence[provider] for watcher in self._watchers if provider in watcher.evidence]

    async def wait_withdrawn(self, names: Collection[str], timeout_s: float) -> bool:
        """Wait until no worker decides by a catalog with one of these providers; False: the timeout passed.

        Workers of other replicas count if they sit beside one of our Envoys. Those that are not connected to anybody
        are not waited for: nobody can reach them.
        """
        unwanted = frozenset(names)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._withdrawn(unwanted):
                    self._changed.clear()
                    await self._changed.wait()
        return self._withdrawn(unwanted)

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The service for `limpet_operator.serve.xds_server.serve`: one method, raw bytes."""
        service, _, method = WATCH_METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    def close(self) -> None:
        """End every stream in good order; for just before the server's `stop(grace)`, which would break them off."""
        self._open.close()

    def _clusters(self, gateway: str) -> AbstractSet[str] | None:
        return self._acks.clusters(gateway, self._peers.claims(gateway))

    def _withdrawn(self, unwanted: frozenset[str]) -> bool:
        return not self.deciding_by(unwanted) and self._peers.agreed(unwanted)

    def _notify(self) -> None:
        self._changed.set()
        self._changes.add()

    async def _serve(self, reports: AsyncIterator[bytes], context: Any) -> None:
        try:
            watcher = _Watcher(_hello(await anext(reports)).node)
            async with self._open.beside(self._read(reports, watcher), grpc.RpcError) as reader:
                reader.add_done_callback(lambda _: watcher.wake.set())
                self._watchers.add(watcher)
                self._metrics.catalog_streams.inc()
                watcher.wake.set()
                try:
                    await self._send(watcher, reader, context)
                finally:
                    # Before anything is waited for: nothing that goes wrong here may keep a worker that has left.
                    self._watchers.remove(watcher)
                    self._metrics.catalog_streams.dec()
                    self._changes.add(providers=watcher.evidence)
                    self._notify()
        except StopAsyncIteration:
            return
        except ContractMismatch as error:
            self._metrics.contract_mismatches.inc()
            _log.warning("refused a data plane: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def _send(self, watcher: _Watcher, reader: "asyncio.Task[object]", context: Any) -> None:
        while not reader.done():
            await watcher.wake.wait()
            watcher.wake.clear()
            if not watcher.ready or (catalog := self._for(watcher)) is None:
                continue
            if watcher.sent is None or watcher.sent.revision != catalog.revision:
                watcher.sent = catalog
                await context.write(encode(catalog))

    def _for(self, watcher: _Watcher) -> Catalog | None:
        """None: say nothing. A worker may outlive us; an empty catalog for want of news would take away what it has.

        While nobody knows its Envoy, what it was told of may be taken away and nothing may be added.
        """
        acked = self._clusters(watcher.gateway)
        if acked is None and watcher.sent is not None:
            acked = _names(watcher.sent)
        if self._catalog is None or acked is None:
            return None
        names = _names(self._catalog) & acked
        if self._last is None or self._last[0] is not self._catalog or self._last[1] != names:
            self._last = (self._catalog, names, announce(self._catalog, names))
        return self._last[2]

    async def _read(self, reports: AsyncIterator[bytes], watcher: _Watcher) -> None:
        async for data in reports:
            report = decode_report(data)
            if isinstance(report, Hello):
                raise ContractMismatch("a data plane says Hello once, at the start of its stream")
            if isinstance(report, Health):
                watcher.evidence.update(report.providers)
                self._changes.add(providers=report.providers)
            elif watcher.sent is not None and report.revision == watcher.sent.revision:
                watcher.seen = watcher.sent
                watcher.wake.set()
                self._notify()
