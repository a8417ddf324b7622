"""The serving half of an operator: plans in, resources to every connected Envoy and catalogs to every worker out.

A pod and a laptop serve the same way; they differ in where plans come from, and whether there are other replicas.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import Publisher
from limpet_operator.publish.resource import CLUSTER, Publication
from limpet_operator.serve.acknowledgements import Acknowledgements, Nack, NoPeers, PeerReports
from limpet_operator.serve.catalog_server import CatalogServer
from limpet_operator.serve.change_set import ChangeSet
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.health_exchange import HealthExchange, HealthPeers, NoHealthPeers
from limpet_operator.serve.health_server import HealthServer
from limpet_operator.serve.metrics import ControlPlaneMetrics, count_objects, show_stale_prices
from limpet_operator.serve.rollout import RemovalTimeouts, Rollout
from limpet_operator.serve.tls import only_for
from limpet_operator.serve.xds_server import XdsServer


def _ignore(_: object) -> None:
    """For a hook that is not used."""


class ControlPlane:
    """The servers, and the order in which a plan reaches them. All methods belong to one event loop.

    `acks`, `xds` and `catalogs` are for reading; `changes` collects what the Envoys and workers report; `health` is for
    what has no part in plans.
    """

    def __init__(
        self,
        envoy: EnvoySettings,
        metrics: ControlPlaneMetrics,
        timeouts: RemovalTimeouts,
        *,
        peers: PeerReports | None = None,
        health_peers: HealthPeers | None = None,
        on_nack: Callable[[Nack], None] = _ignore,
        linger_s: float = 0.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`linger_s` is XdsServer's, `sleep` is Rollout's."""
        self._metrics = metrics
        self._on_nack = on_nack
        self.changes = ChangeSet()
        self.acks = Acknowledgements()
        self.catalogs = CatalogServer(self.acks, peers or NoPeers(), self.changes, metrics)
        self.xds = XdsServer(self.acks, metrics, self._nacked, self._acknowledged, linger_s)
        self.health = HealthServer(HealthExchange(health_peers or NoHealthPeers(), metrics))
        self._rollout = Rollout(self.xds, self.catalogs, timeouts, sleep)
        self._publisher = Publisher(envoy)
        self._server: grpc.aio.Server | None = None

    def apply(self, plan: Plan) -> None:
        """Serve this plan; additions take effect within milliseconds, removals after the last requests that need them.

        If it raises, what was served before goes on being served.
        """
        self.publish(self._publisher.publication(plan))
        count_objects(self._metrics, plan)
        show_stale_prices(self._metrics, plan)

    def publish(self, publication: Publication) -> None:
        """Serve what has been rendered already."""
        self._rollout.apply(publication)

    def version(self, provider: str) -> str | None:
        """The version of this provider's cluster that is served; None: none is."""
        return self.xds.resources.version((CLUSTER, provider))

    async def drained(self) -> None:
        """Return when every removal begun so far is done."""
        await self._rollout.drained()

    async def start(
        self,
        address: str,
        *further: "grpc.GenericRpcHandler[Any, Any]",
        credentials: grpc.ServerCredentials | None = None,
        gateway_name: str | None = None,
    ) -> None:
        """Listen on `unix:/path` or `host:port` for gateways and for `further` services. Raises OSError.

        `gateway_name`: the DNS name in the gateways' certificates. Without one every client is served:
        `tls.require_tls` rejects addresses for which that is unsafe.
        """
        handlers = [self.xds.handler(), self.catalogs.handler(), self.health.handler()]
        if gateway_name is not None:
            handlers = [only_for(handler, gateway_name, "the gateways of this release") for handler in handlers]
        self._server = await serve(address, *handlers, *further, credentials=credentials)

    async def stop(self, grace_s: float | None = None) -> None:
        """End all streams in good order, within `grace_s`; None: break them off, as the end of the process would.

        Removals under way are given up: Envoy keeps those resources until an operator serves it again.
        """
        try:
            await self._rollout.close()
        finally:
            if grace_s is not None:
                self.xds.close()
                self.catalogs.close()
                self.health.close()
            if self._server is not None:
                await self._server.stop(grace_s)

    def _nacked(self, nack: Nack) -> None:
        self.changes.add(gateways=(nack.gateway,))
        self._on_nack(nack)

    def _acknowledged(self, gateway: str) -> None:
        self.changes.add(gateways=(gateway,))
        self.catalogs.acks_changed(gateway)
