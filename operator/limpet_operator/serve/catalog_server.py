"""The catalog stream: every ext_proc worker receives what it may choose from, never more than its own Envoy has.

The other side is `limpet_extproc.operator_link.catalog_client`, the messages are `limpet_extproc.contract.catalog`.
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
    EvidenceReport,
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
    """The catalog for the workers beside one Envoy: only providers whose cluster that Envoy has, in any version.

    Workers beside Envoys with the same clusters get the same revision.
    """
    providers = tuple(provider for provider in catalog.providers if provider.name in acked_names)
    if len(providers) == len(catalog.providers):
        return catalog
    return catalog_of(providers, catalog.policies, catalog.client_keys)


def _hello(data: bytes) -> Hello:
    report = decode_report(data)
    if isinstance(report, Hello):
        return report
    raise ContractMismatch("a data plane's first message must be Hello: run the same Limpet version on both sides")


def _names(catalog: Catalog) -> frozenset[str]:
    return frozenset(provider.name for provider in catalog.providers)


@dataclass(eq=False, slots=True)
class _Worker:
    """One connected worker."""

    gateway: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: Catalog | None = None
    acknowledged: Catalog | None = None
    """What decides there now; None: unknown, it may have a catalog of an earlier connection."""

    evidence: dict[str, Evidence] = field(default_factory=dict)
    """What its requests show about each provider."""

    @property
    def ready(self) -> bool:
        """Whether it acknowledged what it was sent; newer catalogs replace each other until then."""
        return self.sent is self.acknowledged


class CatalogServer:
    """Serves the newest catalog to every connected worker. All methods belong to the event loop that serves."""

    def __init__(
        self, acks: Acknowledgements, peers: PeerReports, changes: ChangeSet, metrics: ControlPlaneMetrics
    ) -> None:
        """`changes` collects providers with new evidence, and that some worker decides by another catalog."""
        self._acks = acks
        self._peers = peers
        self._changes = changes
        self._metrics = metrics
        self._catalog: Catalog | None = None
        self._last: tuple[Catalog, frozenset[str], Catalog] | None = None
        self._workers: set[_Worker] = set()
        self._open = OpenStreams()
        self._changed = asyncio.Event()

    def publish(self, catalog: Catalog) -> None:
        """Serve this catalog from now on. Until the first call workers keep what they have."""
        self._catalog = catalog
        self._metrics.catalog_revision.info({"revision": catalog.revision})
        for worker in self._workers:
            worker.wake.set()
        self._changes.add()

    @property
    def planned(self) -> frozenset[str] | None:
        """The providers of the newest catalog; None: there is none yet."""
        return None if self._catalog is None else _names(self._catalog)

    @property
    def deciding(self) -> int:
        """Connected workers that decide by a catalog of ours."""
        return sum(worker.acknowledged is not None for worker in self._workers)

    def acks_changed(self, gateway: str) -> None:
        """The Envoy of this gateway has more or less than before."""
        for worker in self._workers:
            if worker.gateway == gateway:
                worker.wake.set()

    def agreement_changed(self) -> None:
        """What other replicas agreed to has changed, or a replica has left."""
        self._changed.set()

    def deciding_by(self, names: AbstractSet[str], beside: Container[str] | None = None) -> frozenset[str]:
        """Those of these providers by which a connected worker may decide; `beside`: only workers of these gateways.

        A worker that has acknowledged nothing may decide by all of them, unless its Envoy is unknown, too.
        """
        found: set[str] = set()
        for worker in self._workers:
            if beside is not None and worker.gateway not in beside:
                continue
            if worker.sent is not None and worker.acknowledged is not None:
                found |= names & (_names(worker.acknowledged) | _names(worker.sent))
            elif worker.sent is not None or self._clusters(worker.gateway) is not None:
                return frozenset(names)
        return frozenset(found)

    def evidence(self, provider: str) -> list[Evidence]:
        """What each connected worker reports of it."""
        return [worker.evidence[provider] for worker in self._workers if provider in worker.evidence]

    async def wait_withdrawn(self, names: Collection[str], timeout_s: float) -> bool:
        """Wait until no worker decides by a catalog with one of these providers; False: the timeout passed.

        Workers of other replicas count if they sit beside one of our Envoys. Workers without a connection are not
        waited for: no replica can reach them.
        """
        unwanted = frozenset(names)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._withdrawn(unwanted):
                    self._changed.clear()
                    await self._changed.wait()
        return self._withdrawn(unwanted)

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The service for `limpet_operator.serve.grpc_server.serve`: one method, raw bytes."""
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
            worker = _Worker(_hello(await anext(reports)).node)
            async with self._open.beside(self._read(reports, worker), grpc.RpcError) as reader:
                reader.add_done_callback(lambda _: worker.wake.set())
                self._workers.add(worker)
                self._metrics.catalog_streams.inc()
                worker.wake.set()
                try:
                    await self._send(worker, reader, context)
                finally:
                    # Before anything is waited for: nothing that goes wrong here may keep a worker that has left.
                    self._workers.remove(worker)
                    self._metrics.catalog_streams.dec()
                    self._changes.add(providers=worker.evidence)
                    self._notify()
        except StopAsyncIteration:
            return
        except ContractMismatch as error:
            self._metrics.contract_mismatches.inc()
            _log.warning("refused a data plane: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def _send(self, worker: _Worker, reader: "asyncio.Task[object]", context: Any) -> None:
        while not reader.done():
            await worker.wake.wait()
            worker.wake.clear()
            if not worker.ready or (catalog := self._for(worker)) is None:
                continue
            if worker.sent is None or worker.sent.revision != catalog.revision:
                worker.sent = catalog
                await context.write(encode(catalog))

    def _for(self, worker: _Worker) -> Catalog | None:
        """None: send nothing. A worker may outlive us; an empty catalog would take away what it has.

        While its Envoy is unknown, providers that it was sent may be taken away, and none may be added.
        """
        acked = self._clusters(worker.gateway)
        if acked is None and worker.sent is not None:
            acked = _names(worker.sent)
        if self._catalog is None or acked is None:
            return None
        names = _names(self._catalog) & acked
        if self._last is None or self._last[0] is not self._catalog or self._last[1] != names:
            self._last = (self._catalog, names, announce(self._catalog, names))
        return self._last[2]

    async def _read(self, reports: AsyncIterator[bytes], worker: _Worker) -> None:
        async for data in reports:
            report = decode_report(data)
            if isinstance(report, Hello):
                raise ContractMismatch("a data plane sends Hello once, at the start of its stream")
            if isinstance(report, EvidenceReport):
                worker.evidence.update(report.providers)
                self._changes.add(providers=report.providers)
            elif worker.sent is not None and report.revision == worker.sent.revision:
                worker.acknowledged = worker.sent
                worker.wake.set()
                self._notify()
