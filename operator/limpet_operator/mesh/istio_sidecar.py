"""Istio's objects by which applications' own sidecars ask the workers, and reach the providers by themselves.

They come on top of those of `istio_egress`, whose routes to the gateway serve all that a sidecar does not decide.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.hosts import is_loopback
from limpet_operator.mesh.istio_egress import egress_objects, is_limpets_own, mesh_hosts
from limpet_operator.mesh.istio_object import IstioObject, MeshObjects, istio_object
from limpet_operator.mesh.provider_clusters import (
    CLUSTER_NAMES,
    certified_name,
    cluster_name,
    cluster_objects,
    provider_host,
)
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.encode import typed
from limpet_operator.publish.envoy_settings import EnvoySettings
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
from limpet_operator.publish.tunnel import proxy_of
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.url import is_ip

_OUTBOUND: Final = "SIDECAR_OUTBOUND"
_MANAGER: Final = "envoy.filters.network.http_connection_manager"
_ROUTER: Final = "envoy.filters.http.router"


@dataclass(frozen=True, slots=True)
class SidecarMesh:
    """What applications' sidecars are told of the gateway besides its Service."""

    app_namespaces: tuple[str, ...]
    """Where the applications are."""
    ca_pem: str
    """The authority of the gateway's and the operator's certificates."""
    workers_port: int = 9443
    """Of the gateway's Service for sidecars."""
    credentials_port: int = 18001
    """Of the operator's Service, where sidecars get the providers' credentials."""


def sidecar_settings(gateway: MeshGateway, sidecars: SidecarMesh) -> SidecarSettings:
    """The same in Envoy's terms."""
    return SidecarSettings(
        workers_cluster=f"outbound|{sidecars.workers_port}||{gateway.workers_host}",
        workers_name=gateway.certified_name,
        credentials=HostPort(gateway.operator_host, sidecars.credentials_port),
        credentials_name=gateway.operator_host,
        ca_pem=sidecars.ca_pem,
        cluster_names=CLUSTER_NAMES,
    )


def sidecar_objects(
    providers: Sequence[PlannedProvider],
    hosts: Sequence[str],
    gateway: MeshGateway,
    sidecars: SidecarMesh,
    envoy: EnvoySettings,
    routed_by_others: Collection[str] = (),
    accepted: Sequence[Provider] | None = None,
) -> MeshObjects:
    """The objects for these providers and for `hosts`, in the order in which they are to be applied.

    Hosts are also those of `accepted`: Providers that can't be served for the moment are among them; None: there are
    no such ones.

    `envoy` is the gateway as `publication.settings_for` has it for all the providers. `routed_by_others` are hosts for
    which somebody else has a VirtualService (`conflicts.settled`): sidecars ask nothing about their requests.
    """
    told = sidecar_settings(gateway, sidecars)
    specs = [provider.spec for provider in providers] if accepted is None else accepted
    egress = egress_objects(specs, hosts, gateway, envoy.proxies)
    virtual_hosts = [
        f"{host.mesh_name}:{port}"
        for host in mesh_hosts(specs, hosts, gateway)
        for port in host.http_ports
        if not is_ip(host.name) and not is_limpets_own(host, gateway) and host.mesh_name not in routed_by_others
    ]
    left = {each.name: why for each in providers if each.served and (why := _left_to_gateway(each, envoy))}
    reached = [provider for provider in providers if provider.served and provider.name not in left]
    notes = [f"{name} is {why}: the gateway serves its requests" for name, why in left.items()]
    objects = [*egress.objects, _workers_rule(gateway)]
    for provider in reached:
        objects += cluster_objects(provider, gateway)
    filters = [(each, _filters(each, told)) for each in reached]
    ports = sorted({int(name.rpartition(":")[2]) for name in virtual_hosts})
    for namespace in sidecars.app_namespaces:
        objects += (_program(port, gateway, namespace) for port in ports)
        objects.append(_asking(virtual_hosts, gateway, namespace, told, envoy))
        objects += (_filters_object(each, spec, gateway, namespace) for each, spec in filters)
    for namespace in sidecars.app_namespaces if virtual_hosts else ():
        objects += (_routes(each, virtual_hosts, gateway, namespace, envoy) for each in reached)
    return MeshObjects(tuple(objects), (*egress.notes, *notes))


def _left_to_gateway(provider: PlannedProvider, envoy: EnvoySettings) -> str:
    """Why sidecars can't ask this provider themselves; empty: they can."""
    if proxy_of(provider, envoy) is not None:
        return "reached through a proxy, which sidecars can't use"
    if is_loopback(provider.spec.url.host):
        return f"at {provider.spec.url.host}, which is the application's own pod for a sidecar"
    return ""


def _workers_rule(gateway: MeshGateway) -> IstioObject:
    spec = {
        "host": gateway.workers_host,
        "exportTo": list(gateway.visible_to),
        "trafficPolicy": {"tls": {"mode": "DISABLE"}},
    }
    purpose = "leaves TLS to the workers to the EnvoyFilters, as their certificate is Limpet's own"
    return istio_object(gateway, "DestinationRule", gateway.workers_host, purpose, spec)


def _program(port: int, gateway: MeshGateway, namespace: str) -> IstioObject:
    """By itself, as it is large: Istio has one route configuration for all hosts of a port."""
    named = {"name": str(port)}
    patch = _patch("ROUTE_CONFIGURATION", "MERGE", route_configuration_patch(), routeConfiguration=named)
    purpose = f"has the program by which sidecars of {namespace} ask providers, for hosts of port {port}"
    return istio_object(
        gateway, "EnvoyFilter", f"program-{port}", purpose, {"configPatches": [patch]}, namespace=namespace
    )


def _asking(
    virtual_hosts: Sequence[str],
    gateway: MeshGateway,
    namespace: str,
    told: SidecarSettings,
    envoy: EnvoySettings,
) -> IstioObject:
    manager = {"filterChain": {"filter": {"name": _MANAGER}}}
    router = {"filterChain": {"filter": {"name": _MANAGER, "subFilter": {"name": _ROUTER}}}}
    log = {
        "name": _MANAGER,
        "typed_config": typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager", access_log=[access_log(told)]
        ),
    }
    patches = [
        *_cluster_patches(told.workers_cluster, workers_cluster_patch(told)),
        *(_patch("HTTP_FILTER", "INSERT_BEFORE", each, listener=router) for each in http_filters(envoy, told)),
        _patch("NETWORK_FILTER", "MERGE", log, listener=manager),
        *(
            _patch("VIRTUAL_HOST", "MERGE", virtual_host_patch(envoy), routeConfiguration={"vhost": {"name": name}})
            for name in virtual_hosts
        ),
    ]
    purpose = f"has sidecars of {namespace} ask Limpet's workers about the requests for these hosts"
    return istio_object(gateway, "EnvoyFilter", "workers", purpose, {"configPatches": patches}, namespace=namespace)


def _filters(provider: PlannedProvider, told: SidecarSettings) -> dict[str, Any]:
    """The same in every namespace."""
    value = {**cluster_patch(provider, told), **_authority(provider)}
    return {"configPatches": list(_cluster_patches(cluster_name(provider), value))}


def _filters_object(
    provider: PlannedProvider, spec: dict[str, Any], gateway: MeshGateway, namespace: str
) -> IstioObject:
    purpose = f"gives requests of {namespace} for {provider.name} its key, path and headers"
    return istio_object(gateway, "EnvoyFilter", provider_host(provider), purpose, spec, (provider.name,), namespace)


def _routes(
    provider: PlannedProvider, virtual_hosts: Sequence[str], gateway: MeshGateway, namespace: str, envoy: EnvoySettings
) -> IstioObject:
    """Apart from the cluster and later: a route to one that a sidecar is still preparing would lose requests."""
    route = provider_route(envoy, cluster_name(provider))
    patches = [
        _patch("HTTP_ROUTE", "INSERT_FIRST", route, routeConfiguration={"vhost": {"name": host}})
        for host in virtual_hosts
    ]
    purpose = f"sends what is decided for {provider.name} there from {namespace}"
    about, names = f"{provider_host(provider)}-routes", (provider.name,)
    return istio_object(gateway, "EnvoyFilter", about, purpose, {"configPatches": patches}, names, namespace, step=2)


def _authority(provider: PlannedProvider) -> dict[str, Any]:
    """The transport of a provider with an authority of its own, which a DestinationRule could name as a file alone."""
    if provider.ca_pem is None or provider.spec.url.scheme != "https":
        return {}
    name = certified_name(provider)
    kind = "IP_ADDRESS" if is_ip(name) else "DNS"
    validation = {
        "trusted_ca": {"inline_string": provider.ca_pem},
        "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": name}}],
    }
    context = typed(
        "transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context={"validation_context": validation}
    )
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _cluster_patches(cluster: str, value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Two patches where a transport is among it: Istio merges nothing else of a patch that has one."""
    transport = {key: each for key, each in value.items() if key == "transport_socket"}
    rest = {key: each for key, each in value.items() if key not in transport}
    for part in (rest, transport):
        if part:
            yield _patch("CLUSTER", "MERGE", part, cluster={"name": cluster})


def _patch(applies_to: str, operation: str, value: dict[str, Any], **match: Any) -> dict[str, Any]:
    return {
        "applyTo": applies_to,
        "match": {"context": _OUTBOUND, **match},
        "patch": {"operation": operation, "value": value},
    }
