"""A cluster of the mesh's own for each provider, so that two on one host keep apart what belongs to each."""

import ipaddress
from collections.abc import Iterator
from typing import Any, Final

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.hosts import in_cluster
from limpet_operator.mesh.istio_object import IstioObject, istio_object
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.resources.url import is_ip

_SUFFIX: Final = "providers.limpet.internal"
_PORT: Final = 80
"""Of every provider, in the name of its cluster. The mesh must take it for HTTP, which on 443 would be all TLS of the
applications; where its traffic really goes says the endpoint."""
_PORT_NAME: Final = "http"

CLUSTER_NAMES: Final = f"outbound|{_PORT}||{{name}}.{{namespace}}.{_SUFFIX}"
"""How Istio names the cluster of a provider, as a template for the workers."""


def provider_host(provider: PlannedProvider) -> str:
    """The name that a mesh knows this provider by."""
    return f"{provider.spec.key.name}.{provider.spec.key.namespace}.{_SUFFIX}"


def is_provider_host(host: str) -> bool:
    """Whether it is such a name, so that what is about it is about a cluster of a provider."""
    return host.endswith(f".{_SUFFIX}")


def cluster_name(provider: PlannedProvider) -> str:
    """What Istio calls its cluster."""
    key = provider.spec.key
    return CLUSTER_NAMES.format(name=key.name, namespace=key.namespace)


def cluster_objects(provider: PlannedProvider, gateway: MeshGateway) -> Iterator[IstioObject]:
    """The objects that make Istio have it: where it is, and whether TLS is spoken there, and how."""
    host, names = provider_host(provider), (provider.name,)
    yield istio_object(
        gateway, "ServiceEntry", host, f"is the cluster of {provider.name}", _entry(provider, gateway), names
    )
    speaks = "TLS" if provider.spec.url.scheme == "https" else "plain HTTP"
    yield istio_object(
        gateway,
        "DestinationRule",
        host,
        f"speaks {speaks} to {provider.spec.url.host}",
        _rule(provider, gateway),
        names,
    )


def _entry(provider: PlannedProvider, gateway: MeshGateway) -> dict[str, Any]:
    url = provider.spec.url
    address = in_cluster(url.host, gateway.namespace, gateway.cluster_domain) or url.host
    return {
        "hosts": [provider_host(provider)],
        "exportTo": list(gateway.visible_to),
        "location": "MESH_EXTERNAL",
        "ports": [{"number": _PORT, "name": _PORT_NAME, "protocol": "HTTP"}],
        "resolution": "STATIC" if is_ip(address) else "DNS",
        "endpoints": [{"address": address, "ports": {_PORT_NAME: url.port}}],
    }


def _rule(provider: PlannedProvider, gateway: MeshGateway) -> dict[str, Any]:
    policy = {
        "connectionPool": {"tcp": {"connectTimeout": f"{provider.spec.timeouts.connect_s:g}s"}},
        "tls": _tls(provider) if provider.spec.url.scheme == "https" else {"mode": "DISABLE"},
    }
    return {"host": provider_host(provider), "exportTo": list(gateway.visible_to), "trafficPolicy": policy}


def _tls(provider: PlannedProvider) -> dict[str, Any]:
    name = certified_name(provider)
    # An address is no server name (RFC 6066), so none is asked for.
    return {"mode": "SIMPLE", **({} if is_ip(name) else {"sni": name}), "subjectAltNames": [name]}


def certified_name(provider: PlannedProvider) -> str:
    """What the provider's certificate must carry."""
    tls, host = provider.spec.tls, provider.spec.url.host
    if tls is not None and tls.server_name:
        return tls.server_name
    return str(ipaddress.ip_address(host)) if is_ip(host) else host
