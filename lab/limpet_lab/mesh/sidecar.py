"""A plain Envoy with the clusters, routes and listener that a mesh gives a sidecar, and our parts added to them."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.machine import envoy_command, free_port
from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.publish.encode import Json, listening, typed
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import settings_for
from limpet_operator.publish.sidecar import (
    SidecarSettings,
    access_log,
    cluster_patch,
    http_filters,
    provider_route,
    route_configuration_patch,
    virtual_host_patch,
    workers_cluster_patch,
)

HOST: Final = "127.0.0.1"
WORKERS_NAME: Final = "limpet-gateway.limpet.svc"
"""In the gateway's certificate."""
OPERATOR_NAME: Final = "limpet-operator.limpet.svc"
"""In the operator's."""
WORKERS_CLUSTER: Final = "outbound|9443||limpet-workers.limpet.svc.cluster.local"
GATEWAY_CLUSTER: Final = "outbound|80||limpet-gateway.limpet.svc.cluster.local"
CLUSTER_NAMES: Final = "outbound|80||{name}.{namespace}.providers.limpet.internal"

_TYPES: Final = "type.googleapis.com/envoy.config."


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a sidecar reaches: all on this machine."""

    gateway_port: int
    """Of the gateway's listener for clients."""
    workers_port: int
    """Of its listener for sidecars."""
    credentials_port: int
    """Of the operator."""
    ca_pem: str
    """The authority of both."""


class Sidecar:
    """The process, and its files; `files` has `sidecar.crt` and `sidecar.key`, its identity, and `token`."""

    def __init__(self, files: Path, neighbours: Neighbours, cluster_names: str = CLUSTER_NAMES) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self._files = files
        self._neighbours = neighbours
        self._children = Children(files)
        certificate = {"name": "default", "sds_config": _path(files / "certificate.json")}
        self._told = SidecarSettings(
            workers_cluster=WORKERS_CLUSTER,
            workers_name=WORKERS_NAME,
            credentials=HostPort(HOST, neighbours.credentials_port),
            credentials_name=OPERATOR_NAME,
            ca_pem=neighbours.ca_pem,
            cluster_names=cluster_names,
            own_certificate=certificate,
            token_file=str(files / "token"),
        )

    @property
    def url(self) -> str:
        """Where an application beside it sends its requests."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self, concurrency: int = 2) -> None:
        """Start it; clusters and routes are written before."""
        identity = {
            "certificate_chain": {"filename": str(self._files / "sidecar.crt")},
            "private_key": {"filename": str(self._files / "sidecar.key")},
        }
        secret = {**typed("transport_sockets.tls.v3.Secret"), "name": "default", "tls_certificate": identity}
        (self._files / "certificate.json").write_text(json.dumps({"resources": [secret]}))
        bootstrap = {
            "node": {"id": "sidecar", "cluster": "mesh"},
            "admin": {"address": listening(HOST, self.admin_port)},
            "dynamic_resources": {
                "cds_config": _path(self._files / "cds.json"),
                "lds_config": _path(self._files / "lds.json"),
            },
        }
        path = self._files / "sidecar.json"
        path.write_text(json.dumps(bootstrap))
        await self._children.start("sidecar", envoy_command(path, "--concurrency", str(concurrency)))

    async def stop(self) -> None:
        """End it."""
        await self._children.stop()

    def pid(self) -> int:
        """Its process id."""
        return self._children.pid("sidecar")

    def log(self) -> str:
        """What it has logged."""
        return (self._files / "sidecar.log").read_text()

    async def page(self, path: str) -> list[str]:
        """The lines of a page of its admin's; none while it does not listen."""
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://{HOST}:{self.admin_port}{path}") as answer:
                return (await answer.text()).splitlines()
        except aiohttp.ClientConnectionError:
            return []

    async def sent(self, provider: PlannedProvider) -> int:
        """Requests that it has sent to a provider."""
        name = f"cluster.{self.name_of(provider)}.upstream_rq_total"
        lines = [line for line in await self.page("/stats") if line.startswith(f"{name}: ")]
        return sum(int(line.rpartition(": ")[2]) for line in lines)

    async def in_force(self, providers: Iterable[PlannedProvider]) -> None:
        """Return when it has the clusters of these providers, and no other's, each with what it waits for."""
        wanted = {*map(self.name_of, providers), WORKERS_CLUSTER, GATEWAY_CLUSTER}
        # Envoy does not announce it.
        while {line.partition("::")[0] for line in await self.page("/clusters") if "::" in line} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def write_clusters(self, providers: Iterable[PlannedProvider]) -> None:
        """Have it know these providers' clusters, and no others'."""
        clusters = [self._workers(), self._gateway(), *map(self._provider, providers)]
        _replace(self._files / "cds.json", [{"@type": f"{_TYPES}cluster.v3.Cluster", **each} for each in clusters])

    def write_routes(self, plan: Plan, gateway: EnvoySettings) -> None:
        """Have it send requests to these providers, and to no others."""
        settings = settings_for(plan, gateway)
        routes = {"@type": f"{_TYPES}route.v3.RouteConfiguration", **self._routes(plan, settings)}
        _replace(self._files / "rds.json", [routes])
        listener = {"@type": f"{_TYPES}listener.v3.Listener", **self._listener(settings)}
        _replace(self._files / "lds.json", [listener])

    def name_of(self, provider: PlannedProvider) -> str:
        """Its cluster here."""
        key = provider.spec.key
        return self._told.cluster_names.format(name=key.name, namespace=key.namespace)

    def _provider(self, provider: PlannedProvider) -> Json:
        url = provider.spec.url
        return {
            **_cluster(self.name_of(provider), url.host, url.port, "STRICT_DNS"),
            **cluster_patch(provider, self._told),
        }

    def _workers(self) -> Json:
        return {
            **_cluster(WORKERS_CLUSTER, HOST, self._neighbours.workers_port),
            **workers_cluster_patch(self._told),
        }

    def _gateway(self) -> Json:
        return _cluster(GATEWAY_CLUSTER, HOST, self._neighbours.gateway_port)

    def _routes(self, plan: Plan, settings: EnvoySettings) -> Json:
        providers = [provider_route(settings, self.name_of(each)) for each in plan.providers]
        rest = {"match": {"prefix": "/"}, "route": {"cluster": GATEWAY_CLUSTER, "timeout": "0s"}}
        host = {"name": "llm", "domains": ["*"], "routes": [*providers, rest], **virtual_host_patch(settings)}
        clusters = [self._virtual_host_of(self.name_of(each)) for each in plan.providers]
        return {"name": "outbound", "virtual_hosts": [*clusters, host], **route_configuration_patch()}

    @staticmethod
    def _virtual_host_of(cluster: str) -> Json:
        """A mesh has one for every host that it knows, and so for those that are made up for clusters."""
        domain = cluster.rpartition("|")[2]
        routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
        retries = {"retry_on": "connect-failure,refused-stream,unavailable,cancelled,503", "num_retries": 2}
        return {
            "name": domain,
            "domains": [domain],
            "routes": routes,
            "include_request_attempt_count": True,
            "retry_policy": retries,
        }

    def _listener(self, settings: EnvoySettings) -> Json:
        router = {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")}
        manager = typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="outbound",
            rds={"route_config_name": "outbound", "config_source": _path(self._files / "rds.json")},
            http_filters=[*http_filters(settings, self._told), router],
            access_log=[access_log(self._told)],
            stream_idle_timeout="0s",
        )
        filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        return {
            "name": "outbound",
            "address": listening(HOST, self.port),
            "filter_chains": [{"filters": filters}],
        }


def _cluster(name: str, host: str, port: int, kind: str = "STATIC") -> Json:
    address = {"socket_address": {"address": host, "port_value": port}}
    return {
        "name": name,
        "type": kind,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _path(path: Path) -> Json:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _replace(path: Path, resources: list[dict[str, Any]]) -> None:
    """Envoy looks at a file again when another is moved to its place."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"resources": resources}))
    new.replace(path)
