"""Istio's objects that bring applications' requests for the providers' own hosts to the gateway.

A host has one set of objects, however many Providers share it. Requests of the gateway's own pods go on to the host.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.hosts import in_cluster, is_host_name, plain
from limpet_operator.mesh.istio_object import IstioObject, MeshObjects, istio_object
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.proxy import Proxy, ProxySettings
from limpet_operator.resources.url import is_ip

HTTP_PORT: Final = 80
TLS_PORT: Final = 443
_CLIENT_PREFIX: Final = "/v1"
"""What every path of the gateway begins with."""
_RETRIES: Final = {"attempts": 2, "retryOn": "connect-failure,refused-stream,reset-before-request"}
"""Only what can't have reached the gateway: it tries other providers itself, and a sidecar's retries would multiply
them."""


_OF_MESHES: Final = (
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-forwarded-proto",
)
"""What a sidecar adds to plain HTTP and a vendor has no business to know: names of Services, workloads and labels."""


@dataclass(frozen=True, slots=True)
class MeshHost:
    """A host that applications call, with all that the Providers there have in common."""

    name: str
    """As applications write it; an IPv6 address without brackets."""
    providers: tuple[str, ...] = ()
    """Names of the Providers there; none: the host is made up."""
    tls_ports: tuple[int, ...] = (TLS_PORT,)
    http_ports: tuple[int, ...] = (HTTP_PORT,)
    prefixes: tuple[str, ...] = ()
    """What paths begin with at the vendors where those of the gateway begin with /v1, the longest first."""
    service: str | None = None
    """The whole name of the cluster's own Service, if it is one; it is known to the mesh already."""

    @property
    def mesh_name(self) -> str:
        """The name under which the mesh knows it; that of an address is made up."""
        if is_ip(self.name):
            return f"{self.name.replace('.', '-').replace(':', '-')}.address.limpet.internal"
        return self.service or self.name


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
        if not is_ip(host.name) and not is_host_name(host.mesh_name):
            notes.append(f"{host.name} ({', '.join(host.providers)}) is not a name that a mesh takes; it is left out")
            continue
        objects += _objects_of(host, gateway)
        notes += _notes_of(host, gateway)
    objects += _proxies(providers, gateway, proxies or ProxySettings())
    return MeshObjects(tuple(objects), tuple(notes))


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
    if host.http_ports or (gateway.certified_for(host.name) and not is_ip(host.name)):
        yield istio_object(
            gateway,
            "VirtualService",
            host.mesh_name,
            f"brings what applications send to {host.name} to the gateway",
            _virtual_service(host, gateway),
            host.providers,
        )


def _notes_of(host: MeshHost, gateway: MeshGateway) -> Iterator[str]:
    providers = ", ".join(host.providers)
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
            "route": [{"destination": {"host": host.mesh_name, "port": {"number": port}}}],
            "headers": {"request": {"remove": list(_OF_MESHES)}},
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
    if not gateway.certified_for(host.name) or is_ip(host.name):
        return
    names = {"port": port, "sniHosts": [host.mesh_name]}
    if host.providers:
        yield {
            "match": [{**names, **_from_gateway(gateway)}],
            "route": [{"destination": {"host": host.mesh_name, "port": {"number": port}}}],
        }
    yield {
        "match": [names],
        "route": [{"destination": {"host": gateway.host, "port": {"number": gateway.tls_port}}}],
    }


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
