"""The order in which a new plan reaches Envoy and ext_proc, so that no request is sent to a cluster that is missing.

New and changed resources go out at once; the catalog names a provider when Envoy has it (`catalog_server`). A removed
provider leaves the catalog first, and Envoy only after every worker has acknowledged that and the last requests have
had time to end: Envoy answers 503 without a retry for a cluster that it does not know.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from limpet_operator.publish.resource import CLUSTER, Publication, Resource, ResourceKey
from limpet_operator.serve.catalog_server import CatalogServer
from limpet_operator.serve.xds_server import XdsServer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemovalTimeouts:
    """Seconds a removal takes."""

    drain_s: float = 10.0
    """From the last worker's acknowledgement to the removal from Envoy: requests decided before must have started
    their last attempt by then; a response that already flows survives the removal of its cluster."""
    confirm_s: float = 30.0
    """How long to wait for the acknowledgement of a worker."""


class Rollout:
    """Applies publications one after the other. All methods belong to the event loop of the servers."""

    def __init__(
        self,
        xds: XdsServer,
        catalogs: CatalogServer,
        timeouts: RemovalTimeouts,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._xds = xds
        self._catalogs = catalogs
        self._timeouts = timeouts
        self._sleep = sleep
        self._served: dict[ResourceKey, Resource] = {}
        self._leaving: dict[ResourceKey, object] = {}
        """Not planned any more, still served -> the departure it belongs to; being planned again ends that."""
        self._departures: set[asyncio.Task[None]] = set()

    def apply(self, new: Publication) -> None:
        """Serve this; returns at once, removals follow in the background."""
        changed = [resource for key, resource in new.resources.items() if self._served.get(key) != resource]
        self._served.update(new.resources)
        for key in self._leaving.keys() & new.resources.keys():
            del self._leaving[key]
        self._xds.publish(changed)
        self._catalogs.publish(new.catalog)
        removed = self._served.keys() - new.resources.keys() - self._leaving.keys()
        if removed:
            departure = object()
            self._leaving.update(dict.fromkeys(removed, departure))
            task = asyncio.create_task(self._remove(departure, removed))
            self._departures.add(task)
            task.add_done_callback(self._departures.discard)

    async def drained(self) -> None:
        """Return when every removal begun so far is done."""
        await asyncio.gather(*self._departures)

    async def close(self) -> None:
        """Give up the removals under way: Envoy keeps those resources until an operator serves it again."""
        tasks = list(self._departures)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _remove(self, departure: object, keys: Collection[ResourceKey]) -> None:
        providers = sorted(name for type_url, name in keys if type_url == CLUSTER)
        if not await self._catalogs.wait_withdrawn(providers, self._timeouts.confirm_s):
            _log.warning(
                "a data plane did not confirm within %.0f s that %s left its catalog; Envoy loses them anyway",
                self._timeouts.confirm_s, ", ".join(providers),
            )  # fmt: skip
        await self._sleep(self._timeouts.drain_s)
        ended = [key for key in keys if self._leaving.get(key) is departure]
        for key in ended:
            del self._leaving[key], self._served[key]
        self._xds.publish((), ended)
