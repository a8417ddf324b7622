"""One replica of the operator in a cluster: from the API server's objects to every connected Envoy and ext_proc.

The counterpart of `laptop.local`. Every replica watches and serves, and they report to each other what their Envoys
acknowledge; only the holder of the Lease writes to Kubernetes.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from math import nan
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any, Final

from limpet_extproc.contract.certificate_expiry import show_certificate_expiry
from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.contract.registry import Registry
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.fleet.peers import Peers, dialer, resolver
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.planning.serving_certificate import ServedCertificate, served_certificate, with_certificate
from limpet_operator.pod.debounce import Debounce
from limpet_operator.pod.health_log import HealthLog
from limpet_operator.pod.object_log import ObjectLog
from limpet_operator.pod.pod_http import metrics, probes, serve_http
from limpet_operator.pod.settings import ReplicaSettings
from limpet_operator.pod.writing import Writing
from limpet_operator.probe.metrics import build_probe_metrics
from limpet_operator.probe.prober import Prober
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.schema import load_crds
from limpet_operator.resources.secret import SecretObject
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.garbage import freeze_what_exists
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts
from limpet_operator.serve.sidecar_credentials import SidecarCredentials
from limpet_operator.serve.tasks import first_of
from limpet_operator.serve.tls import only_for, require_tls, server_credentials
from limpet_operator.serve.token_review import AUDIENCE, TokenReviews
from limpet_operator.sources.cluster import ClusterCallbacks, ClusterSource, Where
from limpet_operator.sources.kube_reader import Access, KubeReader
from limpet_operator.sources.serving_certificate import read_serving_certificate
from limpet_operator.status.health import healths
from limpet_operator.status.kube_writer import KubeWriter

_log = logging.getLogger(__name__)

CLOSE_S: Final = 2.0
"""Grace for open streams."""
_SERVING: Final = "https"
"""What the certificate that clients are shown is called among the files of certificates."""
_COLLECT_AFTER: Final = 50_000
"""Allocations, less deallocations, between garbage collections."""
_RECONNECT_S: Final = 5.0
"""How long workers may take to find another replica and receive its catalog."""


class Replica:
    """Connects the parts; `run` runs them all."""

    def __init__(self, settings: ReplicaSettings, api: KubeReader, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._api = api
        self.registry = Registry()
        self._metrics = build_metrics(self.registry, version("limpet"))
        if settings.tls_dir is not None:
            further = {_SERVING: self._serving_expires_s} if settings.serving_secret is not None else {}
            show_certificate_expiry(self.registry, settings.tls_dir, further)
        links = PeerLinks()
        health = HealthLinks(links, self._metrics)
        self._control_plane = ControlPlane(
            settings.envoy,
            self._metrics,
            RemovalTimeouts(drain_s=settings.drain_s),
            peers=links,
            health_peers=health,
            linger_s=settings.drain_s + _RECONNECT_S,
        )
        self._fleet = Fleet(self._control_plane, links, health, self._metrics, self._health_changed)
        self._prober = Prober(
            self._control_plane.health.exchange, build_probe_metrics(self.registry), self._leads, self._health_changed
        )
        self._peers = Peers(self._fleet, f"{settings.identity}-{token_hex(4)}")
        self._debounce = Debounce(self._reconcile)
        self._certificate: ServedCertificate | None = None
        if settings.serving_secret is not None:
            self._certificate = ServedCertificate(ObjectKey("Secret", settings.own_namespace, settings.serving_secret))
        self._source = ClusterSource(
            Where(
                access,
                settings.namespaces,
                None if settings.envoy.client_keys == "Off" else settings.own_namespace,
                frozenset() if self._certificate is None else frozenset({self._certificate.secret}),
            ),
            api,
            Parser.load(),
            load_crds(),
            ClusterCallbacks(self._debounce.trigger, self._status_changed, self._unreadable_changed),
            Random(),  # noqa: S311 (it spreads load)
        )
        self._writing: Writing | None = None
        self._objects = Objects()
        self._plan: Plan | None = None
        self._object_log = ObjectLog()
        self._health_log = HealthLog()
        self._ending = False

    def _serving_expires_s(self) -> float:
        """In Unix time; NaN while nothing is served."""
        shown = self._certificate.certificate if self._certificate is not None else None
        return nan if shown is None else shown.not_after.timestamp()

    def not_ready(self) -> str | None:
        """Why this replica should get no connections; None: it should."""
        if self._ending:
            return "this replica is ending"
        if self._plan is None:
            return self._source.not_synced or self._source.problem or "the first plan is being made"
        return None

    def remarks(self) -> str | None:
        """What is amiss although this replica serves; None: nothing is."""
        left_out = [f"namespace {name} is left out: {why}" for name, why in sorted(self._source.unreadable.items())]
        mesh = self._writing.mesh_problem if self._writing is not None else None
        certificate = self._certificate.told(datetime.now(UTC)) if self._certificate is not None else None
        no_mesh = f"nothing is written for the mesh: {mesh}" if mesh else None
        return "\n".join([*left_out, *filter(None, [self._source.keys_problem, certificate, no_mesh])]) or None

    def unhealthy(self) -> str | None:
        """Why this process should be restarted; None: it should not."""
        return self._source.stuck()

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped`.

        Raises OSError for an address in use, TlsUnusableError, NoClusterError, and the error of any part that fails.
        """
        settings = self._settings
        require_tls(settings.listen, settings.tls_dir)
        async with AsyncExitStack() as open_:
            routes = probes(self.unhealthy, self.not_ready, self.remarks)
            await open_.enter_async_context(serve_http(settings.http, {**routes, **metrics(self.registry)}))
            if settings.probes:
                await open_.enter_async_context(serve_http(settings.probes, routes))
            await open_.enter_async_context(self._serving())
            if settings.credentials is not None and settings.tls_dir is not None:
                await open_.enter_async_context(self._giving_credentials(settings.credentials, settings.tls_dir))
            if settings.lease is not None:
                writer = KubeWriter(await self._access.configuration())
                self._writing = Writing(
                    settings,
                    settings.lease,
                    writer,
                    self._api,
                    self.registry,
                    self._fleet,
                    self._prober,
                    self._source.store.stored,
                    self._control_plane.version,
                )
            parts: list[Awaitable[Any]] = [stopped.wait(), self._source.run(), self._fleet.run(), self._prober.run()]
            if settings.peers:
                parts.append(self._peers.run(resolver(settings.peers), dialer(settings.peers.host, settings.tls_dir)))
            if self._writing is not None:
                parts.append(self._writing.run())
            await first_of(*parts, before_ending=self._end)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        settings, further = self._settings, []
        if settings.peers:
            handler = self._peers.handler()
            if settings.tls_dir:
                handler = only_for(handler, settings.peers.host, "replicas of this operator")
            further.append(handler)
        credentials = server_credentials(settings.tls_dir) if settings.tls_dir else None
        await self._control_plane.start(
            settings.listen, *further, credentials=credentials, gateway_name=settings.gateway_name
        )
        _log.info("listening", extra={"listen": settings.listen, "tls": credentials is not None})
        try:
            yield
        finally:
            self._debounce.close()
            self._peers.close()
            await self._control_plane.stop(CLOSE_S)

    @asynccontextmanager
    async def _giving_credentials(self, at: HostPort, tls_dir: Path) -> AsyncIterator[None]:
        """To sidecars of a mesh, which have no certificate of ours but a token of their service account's."""
        sidecars = self._settings.envoy.sidecars
        api = KubeWriter(await self._access.configuration())
        tokens = TokenReviews(api.call, AUDIENCE, asyncio.get_running_loop().time)
        service = SidecarCredentials(self._control_plane.xds, tokens, sidecars.namespaces if sidecars else ())
        tls = server_credentials(tls_dir, clients_have_certificates=False)
        server = await serve(str(at), service.handler(), credentials=tls)
        try:
            yield
        finally:
            service.close()
            await server.stop(CLOSE_S)
            await api.close()

    def _end(self) -> None:
        """Report not ready before anything is ended, so that no new connections come."""
        self._ending = True

    def _reconcile(self) -> None:
        objects = self._source.take_objects()
        if objects is None:
            return
        if objects is self._objects and self._plan is not None:
            return
        try:
            # No environment variables: they are this process's own, and any namespace's Provider could ask for them.
            new = plan(objects, {}, self._plan, self._settings.owner, self._settings.own_namespace)
            if self._certificate is not None:
                found = objects.find(SecretObject, self._certificate.secret)
                self._certificate = served_certificate(self._certificate, found, read_serving_certificate)
                new = with_certificate(new, self._certificate, exists=found is not None)
            self._control_plane.apply(new)
        except Exception:
            _log.exception("this change can't be planned, which is a bug in Limpet; what was served before stays")
            return
        if self._plan is None:
            _log.info("ready", extra={"providers": len(new.providers), "objects": len(new.findings)})
            freeze_what_exists()
            # A plan makes tens of thousands of objects and no cycles: no reason to look for them at every 700th.
            gc.set_threshold(_COLLECT_AFTER)
        before, self._plan, self._objects = self._plan, new, objects
        if self._writing is not None:
            self._writing.plan_changed(new, objects)
            self._writing.tell_of_secrets(new, before)
        self._prober.plan_changed(new)
        self._object_log.log(new)

    def _unreadable_changed(self, namespaces: Mapping[str, str]) -> None:
        self._metrics.unreadable.set(len(namespaces))

    def _status_changed(self) -> None:
        if self._writing is not None:
            self._writing.status.objects_changed()

    def _leads(self) -> bool:
        """Whether it is this replica that probes."""
        return self._writing is not None and self._writing.leading

    def _health_changed(self) -> None:
        if self._writing is not None:
            self._writing.status.fleet_changed()
        if self._plan is not None and (self._writing is None or self._writing.leading):
            self._health_log.log(healths(self._plan, self._fleet.traffic(), self._prober.probed()))
