"""A catalog server, the workers that connect to it, and other replicas as a test wants them."""

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio
from prometheus_client import CollectorRegistry

from limpet_extproc.contract.catalog import (
    WATCH_METHOD,
    Catalog,
    CatalogProvider,
    Model,
    catalog_of,
)
from limpet_extproc.operator_link.catalog_client import watch
from limpet_operator.serve.acknowledgements import Acknowledgements
from limpet_operator.serve.catalog_server import CatalogServer
from limpet_operator.serve.change_set import ChangeSet
from limpet_operator.serve.metrics import build_metrics

NAMES = ["a", "b", "c"]


def catalog(*names: str, upstream: str = "m") -> Catalog:
    return catalog_of(tuple(CatalogProvider(name, (Model("m", upstream),)) for name in names), ())


def names(catalog: Catalog | None) -> list[str] | None:
    return None if catalog is None else [provider.name for provider in catalog.providers]


class Side:
    """A catalog server whose Envoys are all connected to other replicas, which have and agree to what a test sets."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.acked: dict[str, set[str]] = {}
        self.consent = True
        self.changes = ChangeSet()
        self.registry = CollectorRegistry()
        self.catalogs = CatalogServer(Acknowledgements(), self, self.changes, build_metrics(self.registry, "test"))

    def claims(self, node: str) -> list[dict[str, str]]:
        return [dict.fromkeys(self.acked[node], "1")] if node in self.acked else []

    def agreed(self, names: AbstractSet[str]) -> bool:
        return self.consent

    def ack(self, node: str, *clusters: str) -> None:
        self.acked[node] = set(clusters)
        self.catalogs.acks_changed(node)

    @asynccontextmanager
    async def worker(self, node: str) -> AsyncIterator[list[Catalog]]:
        """A data plane beside this node; yields the catalogs it has put in force."""
        seen: list[Catalog] = []
        task = asyncio.create_task(watch(self.address, node, seen.append))
        try:
            yield seen
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def raw_worker(address: str, method: str = WATCH_METHOD) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(method)()  # type: ignore[call-arg]
        yield call
        call.cancel()
