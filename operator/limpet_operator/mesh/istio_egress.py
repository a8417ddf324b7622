"""Istio's objects that bring applications' requests for the providers' own hosts to the gateway.

A host has one set of objects, however many Providers share it. Requests of the gateway's own pods go on to the host.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from limpet_operator.mesh.egress_gateway import (
    EGRESS_HTTP_PORT,
    EGRESS_TLS_PORT,
    OF_MESHES,
    egress_gateway_objects,
    leaves_by_gateway,
)
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.hosts import in_cluster, is_host_name, is_loopback, plain
from limpet_operator.mesh.istio_object import IstioObject, MeshObjects, istio_object
from limpet_operator.mesh.mesh_host import HTTP_PORT, TLS_PORT, MeshHost
from limpet_operator.mesh.provider_clusters import is_provider_host
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.proxy import Proxy, ProxySettings
from limpet_operator.resources.url import is_ip

_CLIENT_PREFIX: Final = "/v1"
"""What every path of the gateway begins with."""
_RETRIES: Final = {"attempts": 2, "retryOn": "connect-failure,refused-stream,reset-before-request"}
"""Only what can't have reached the gateway: it tries other providers itself, and a sidecar's retries would multiply
them."""


def egress_objects(
    providers: Iterable[Provider],
    hosts: Sequence[str],
    gateway: MeshGateway,
    proxies: ProxySettings | None = None,
) -> MeshObjects:
    """The objects for all hosts of these Providers, and for `hosts`, which need not exist anywhere.

    `proxies` is how the gateway reaches providers that name no proxy.
    """
    providers = sorted(providers, key=lambda each: each.key)
    objects: list[IstioObject] = []
    notes: list[str] = []
    for host in mesh_hosts(providers, hosts, gateway):
        if is_limpets_own(host, gateway):
            notes.append(f"{host.name} ({', '.join(host.providers)}) is a name of Limpet's own; it is left out")
            continue
        if not is_ip(host.name) and not is_host_name(host.mesh_name):
            notes.append(f"{host.name} ({', '.join(host.providers)}) is not a name that a mesh takes; it is left out")
            continue
        objects += _objects_of(host, gateway)
        notes += _notes_of(host, gateway)
    objects += _proxies(providers, gateway, proxies or ProxySettings())
    return MeshObjects(tuple(objects), tuple(notes))


def is_limpets_own(host: MeshHost, gateway: MeshGateway) -> bool:
    """Whether it is a Service of the release, or stands for the cluster of a Provider: nobody may route these anew."""
    return host.mesh_name in gateway.own_hosts or is_provider_host(host.mesh_name)


def mesh_hosts(providers: Iterable[Provider], hosts: Sequence[str], gateway: MeshGateway) -> list[MeshHost]:
    """Every host once, by name."""
    shared: dict[str, list[Provider]] = {name: [] for name in hosts}
    for provider in providers:
        shared.setdefault(plain(provider.url.host), []).append(provider)
    return [_mesh_host(name, found, gateway) for name, found in sorted(shared.items())]


def _mesh_host(name: str, providers: Sequence[Provider], gateway: MeshGateway) -> MeshHost:
    if not providers:
        return MeshHost(name, tls_ports=(TLS_PORT,) if gateway.certified_for(name) else ())
    service = in_cluster(name, gateway.namespace, gateway.cluster_domain)
    ports = {scheme: {each.url.port for each in providers if each.url.scheme == scheme} for scheme in ("http", "https")}
    # Applications that give up TLS, which their sidecar speaks anyway, write http:// and the usual port.
    usual_http, usual_tls = (set(), set()) if service else ({HTTP_PORT}, {TLS_PORT})
    http = ports["http"] | (usual_http - ports["https"])
    prefixes = {each.url.path_prefix for each in providers} | {p for each in providers for p in each.paths.values()}
    return MeshHost(
        name=name,
        providers=tuple(each.key.display_name for each in providers),
        tls_ports=tuple(sorted((ports["https"] | usual_tls) - http)),
        http_ports=tuple(sorted(http)),
        own_tls_ports=tuple(sorted(ports["https"])),
        own_http_ports=tuple(sorted(ports["http"])),
        prefixes=tuple(sorted(prefixes, key=lambda prefix: (-len(prefix), prefix))),
        service=service,
    )


def _objects_of(host: MeshHost, gateway: MeshGateway) -> Iterator[IstioObject]:
    if host.service is None:
        yield istio_object(
            gateway,
            "ServiceEntry",
            host.mesh_name,
            f"makes {host.name} known to the mesh, so that it can be routed",
            _service_entry(host, gateway),
            host.providers,
        )
    if leaves_by_gateway(host, gateway):
        yield from egress_gateway_objects(host, gateway)
    if host.http_ports or (_takes_tls(host, gateway) and not is_ip(host.name)):
        yield istio_object(
            gateway,
            "VirtualService",
            host.mesh_name,
            f"brings what applications send to {host.name} to the gateway",
            _virtual_service(host, gateway),
            host.providers,
            # A route to the edge while the edge does not know the host yet would be 404.
            step=2 if leaves_by_gateway(host, gateway) else 1,
        )


def _notes_of(host: MeshHost, gateway: MeshGateway) -> Iterator[str]:
    providers = ", ".join(host.providers)
    if gateway.egress is not None and host.providers and host.service is None and not leaves_by_gateway(host, gateway):
        why = (
            "which tells hosts by their names; give the address one"
            if is_ip(host.name)
            else "where each host has one port of a kind; give each port a host of its own"
        )
        yield f"{host.name} ({providers}): the gateway's requests go there without {gateway.egress.name}, {why}"
    if host.providers and host.service is None and HTTP_PORT not in host.http_ports:
        yield (
            f"{host.name} ({providers}) has TLS at port {HTTP_PORT}: http:// requests of applications are not brought "
            "to the gateway; give them a host of their own with --host, in the chart mesh.istio.hosts"
        )
    if is_loopback(host.name):
        yield (
            f"{host.name} ({providers}) is the pod itself, another one for applications than for the gateway; give the "
            "Provider an address that is the same for all, such as that of a Service"
        )
    if is_ip(host.name) and host.tls_ports:
        yield (
            f"{host.name} ({providers}) is an address: https:// requests of applications go there as before, as TLS "
            "names no host by which they could be routed"
        )
    elif gateway.tls_port is not None and host.providers and host.tls_ports and not gateway.certified_for(host.name):
        yield (
            f"{host.name} ({providers}): https:// requests of applications go there as before, as the certificate that "
            "the gateway shows does not hold for it"
        )


def _service_entry(host: MeshHost, gateway: MeshGateway) -> dict[str, Any]:
    ports = [
        *({"number": port, "name": f"http-{port}", "protocol": "HTTP"} for port in host.http_ports),
        *({"number": port, "name": f"tls-{port}", "protocol": "TLS"} for port in host.tls_ports),
    ]
    return {
        "hosts": [host.mesh_name],
        **_addresses(host),
        "exportTo": list(gateway.visible_to),
        "location": "MESH_EXTERNAL" if host.providers else "MESH_INTERNAL",
        "ports": sorted(ports, key=lambda port: int(str(port["number"]))),
        **_resolution(host, gateway),
    }


def _addresses(host: MeshHost) -> dict[str, Any]:
    return {"addresses": [host.name]} if is_ip(host.name) else {}


def _resolution(host: MeshHost, gateway: MeshGateway) -> dict[str, Any]:
    if is_ip(host.name):
        return {"resolution": "STATIC", "endpoints": [{"address": host.name}]}
    if host.providers:
        return {"resolution": "DNS"}
    ports = {f"http-{port}": gateway.port for port in host.http_ports}
    if gateway.tls_port is not None:
        ports |= {f"tls-{port}": gateway.tls_port for port in host.tls_ports}
    return {"resolution": "DNS", "endpoints": [{"address": gateway.host, "ports": ports}]}


def _virtual_service(host: MeshHost, gateway: MeshGateway) -> dict[str, Any]:
    http = [each for port in host.http_ports for each in _http_routes(host, port, gateway)]
    tls = [each for port in host.tls_ports for each in _tls_routes(host, port, gateway)]
    return {
        "hosts": [host.mesh_name],
        "exportTo": list(gateway.visible_to),
        "gateways": ["mesh"],
        **({"http": http} if http else {}),
        **({"tls": tls} if tls else {}),
    }


def _http_routes(host: MeshHost, port: int, gateway: MeshGateway) -> Iterator[dict[str, Any]]:
    to_gateway = {
        "route": [{"destination": {"host": gateway.host, "port": {"number": gateway.port}}}],
        "retries": _RETRIES,
    }
    if host.providers:
        yield {
            "name": f"gateway-itself-{port}",
            "match": [{"port": port, **_from_gateway(gateway)}],
            "route": [{"destination": _way_out(host, port, EGRESS_HTTP_PORT, host.own_http_ports, gateway)}],
            "headers": {"request": {"remove": list(OF_MESHES)}},
            "retries": {"attempts": 0},
        }
    for begins, becomes in _rewritten(host.prefixes):
        yield {
            "name": f"applications-{port}-{begins.strip('/').replace('/', '-') or 'root'}",
            "match": [{"port": port, "uri": {"prefix": begins}}],
            **({"rewrite": {"uri": becomes}} if becomes != begins else {}),
            **to_gateway,
        }
    yield {"name": f"applications-{port}", "match": [{"port": port}], **to_gateway}


def _rewritten(prefixes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """How paths of the vendors' begin, and what the gateway's begin with instead; what needs no change is left out."""
    everything = "" in prefixes
    if everything:
        prefixes = [prefix for prefix in prefixes if prefix and prefix != _CLIENT_PREFIX]
        prefixes = [*prefixes, _CLIENT_PREFIX, ""]
    for prefix in prefixes:
        if everything or prefix != _CLIENT_PREFIX:
            yield f"{prefix}/", f"{_CLIENT_PREFIX}/"


def _tls_routes(host: MeshHost, port: int, gateway: MeshGateway) -> Iterator[dict[str, Any]]:
    if not _takes_tls(host, gateway) or is_ip(host.name):
        return
    names = {"port": port, "sniHosts": [host.mesh_name]}
    way_out = [{"destination": _way_out(host, port, EGRESS_TLS_PORT, host.own_tls_ports, gateway)}]
    if not gateway.certified_for(host.name):
        # Applications' own TLS leaves the mesh where all else does.
        yield {"match": [names], "route": way_out}
        return
    if host.providers:
        yield {"match": [{**names, **_from_gateway(gateway)}], "route": way_out}
    yield {
        "match": [names],
        "route": [{"destination": {"host": gateway.host, "port": {"number": gateway.tls_port}}}],
    }


def _takes_tls(host: MeshHost, gateway: MeshGateway) -> bool:
    """Whether there is anything to say of TLS for this host."""
    return gateway.certified_for(host.name) or bool(leaves_by_gateway(host, gateway) and host.own_tls_ports)


def _way_out(host: MeshHost, port: int, at_edge: int, own: Sequence[int], gateway: MeshGateway) -> dict[str, Any]:
    """Where a request to the provider goes on to."""
    if leaves_by_gateway(host, gateway) and port in own:
        return {"host": gateway.egress_host, "port": {"number": at_edge}}
    return {"host": host.mesh_name, "port": {"number": port}}


def _from_gateway(gateway: MeshGateway) -> Mapping[str, Any]:
    return {"sourceNamespace": gateway.namespace, "sourceLabels": gateway.pod_labels}


def _proxies(providers: Iterable[Provider], gateway: MeshGateway, settings: ProxySettings) -> Iterator[IstioObject]:
    """HTTP proxies in front of providers, for the gateway alone: its CONNECT is plain bytes to the mesh."""
    used: dict[Proxy, list[str]] = {}
    for provider in providers:
        proxy = settings.to(provider.url) if provider.proxy is None else provider.proxy
        if isinstance(proxy, Proxy) and in_cluster(proxy.host, gateway.namespace, gateway.cluster_domain) is None:
            used.setdefault(proxy, []).append(provider.key.display_name)
    for proxy, names in sorted(used.items(), key=lambda item: str(item[0])):
        host = MeshHost(proxy.host, tuple(names))
        yield istio_object(
            gateway,
            "ServiceEntry",
            f"proxy-{host.mesh_name}-{proxy.port}",
            f"lets the gateway reach its proxy {proxy}, where the mesh lets nobody reach what it does not know",
            {
                "hosts": [host.mesh_name],
                **_addresses(host),
                "exportTo": ["."],
                "location": "MESH_EXTERNAL",
                "ports": [{"number": proxy.port, "name": f"tcp-{proxy.port}", "protocol": "TCP"}],
                **_resolution(host, gateway),
            },
            names,
        )
