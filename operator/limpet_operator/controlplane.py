"""The catalog stream: tells every ext_proc worker what it may choose from, which is never more than its own Envoy has.

The other side is `limpet_extproc.catalog_client`; what travels is `limpet_extproc.contract`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import grpc
import msgspec

from limpet_extproc.contract import (
    WATCH_METHOD,
    Catalog,
    ContractMismatch,
    Evidence,
    Health,
    Hello,
    decode_report,
    encode,
)
from limpet_operator.metrics import Metrics

_log = logging.getLogger(__name__)


def announce(catalog: Catalog, acked_names: Collection[str]) -> Catalog:
    """The catalog for the workers beside one Envoy: only providers whose cluster that Envoy has, in whatever version.

    The revision is a hash of the content, so workers beside Envoys that have the same see the same revision.
    """
    providers = tuple(provider for provider in catalog.providers if provider.name in acked_names)
    announced = msgspec.structs.replace(catalog, providers=providers, revision="")
    return msgspec.structs.replace(announced, revision=blake2b(encode(announced), digest_size=8).hexdigest())


def _hello(data: bytes) -> Hello:
    report = decode_report(data)
    if isinstance(report, Hello):
        return report
    raise ContractMismatch("a data plane's first word must be Hello: run the same Limpet version on both sides")


def _set(event: asyncio.Event, _: object) -> None:
    event.set()


def _names(catalog: Catalog) -> frozenset[str]:
    return frozenset(provider.name for provider in catalog.providers)


@dataclass(eq=False, slots=True)
class _Watcher:
    """One connected worker."""

    node: str
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

    def __init__(self, acknowledged: Callable[[str], AbstractSet[str] | None], metrics: Metrics) -> None:
        """`acknowledged(node)` names the clusters that node's Envoy has; None: it has not reported since we started."""
        self._acknowledged = acknowledged
        self._metrics = metrics
        self._catalog: Catalog | None = None
        self._last: tuple[Catalog, frozenset[str], Catalog] | None = None
        self._watchers: set[_Watcher] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def publish(self, catalog: Catalog) -> None:
        """Announce from this catalog on. Until the first call workers keep what they have."""
        self._catalog = catalog
        self._metrics.catalog_revision.info({"revision": catalog.revision})
        for watcher in self._watchers:
            watcher.wake.set()

    @property
    def deciding(self) -> int:
        """Connected workers that decide by a catalog of ours."""
        return sum(watcher.seen is not None for watcher in self._watchers)

    def acks_changed(self, node: str) -> None:
        """The Envoy of this node has more or less than before."""
        for watcher in self._watchers:
            if watcher.node == node:
                watcher.wake.set()

    async def wait_unannounced(self, names: Collection[str], timeout_s: float) -> bool:
        """Wait until no connected worker decides by a catalog with one of these providers; False: the timeout passed.

        Workers that are not connected are not waited for: nobody can reach them.
        """
        unwanted = frozenset(names)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._unannounced(unwanted):
                    self._changed.clear()
                    await self._changed.wait()
        return self._unannounced(unwanted)

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The service for `limpet_operator.xds.serve`: one method, raw bytes."""
        service, _, method = WATCH_METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    def close(self) -> None:
        """End every stream in good order; for just before the server's `stop(grace)`, which would break them off."""
        for reader in self._readers:
            reader.cancel()

    def _unannounced(self, unwanted: frozenset[str]) -> bool:
        return all(
            w.seen is not None and w.sent is not None and not unwanted & (_names(w.seen) | _names(w.sent))
            for w in self._watchers
        )

    async def _serve(self, reports: AsyncIterator[bytes], context: Any) -> None:
        watcher: _Watcher | None = None
        reader: asyncio.Task[None] | None = None
        try:
            watcher = _Watcher(_hello(await anext(reports)).node)
            self._watchers.add(watcher)
            self._metrics.catalog_streams.inc()
            watcher.wake.set()
            reader = asyncio.create_task(self._read(reports, watcher))
            self._readers.add(reader)
            reader.add_done_callback(partial(_set, watcher.wake))
            await self._tell(watcher, reader, context)
        except StopAsyncIteration:
            return
        except ContractMismatch as error:
            self._metrics.contract_mismatches.inc()
            _log.warning("refused a data plane: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        finally:
            if reader is not None:
                self._readers.discard(reader)
                reader.cancel()
                with suppress(asyncio.CancelledError, grpc.RpcError, ContractMismatch):
                    await reader
            if watcher is not None:
                self._watchers.remove(watcher)
                self._metrics.catalog_streams.dec()
                self._changed.set()

    async def _tell(self, watcher: _Watcher, reader: asyncio.Task[None], context: Any) -> None:
        while not reader.done():
            await watcher.wake.wait()
            watcher.wake.clear()
            if not watcher.ready or (catalog := self._for(watcher.node)) is None:
                continue
            if watcher.sent is None or watcher.sent.revision != catalog.revision:
                watcher.sent = catalog
                await context.write(encode(catalog))
        if not reader.cancelled():
            reader.result()

    def _for(self, node: str) -> Catalog | None:
        """None: say nothing. A worker may outlive us; an empty catalog for want of news would take away what it has."""
        acked = self._acknowledged(node)
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
            elif watcher.sent is not None and report.revision == watcher.sent.revision:
                watcher.seen = watcher.sent
                watcher.wake.set()
                self._changed.set()
