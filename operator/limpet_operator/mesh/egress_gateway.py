"""The way of the gateway's own requests through Istio's gateway at the edge, where a mesh lets nothing else leave it.

Sidecars send what is for a provider to port 80 or 443 of the edge, by the same route that keeps the gateway's requests
from coming back to it. There the host, or the name in the TLS handshake, says where it goes on to: TLS is passed on as
it is, so nobody at the edge sees a key.
"""

from collections.abc import Iterator
from typing import Any, Final

from limpet_operator.mesh.gateway import MeshGateway, text_hash
from limpet_operator.mesh.istio_object import IstioObject, istio_object
from limpet_operator.mesh.mesh_host import MeshHost
from limpet_operator.resources.url import is_ip

EGRESS_HTTP_PORT: Final = 80
EGRESS_TLS_PORT: Final = 443
"""Of the Service of Istio's egress gateway."""

_LONGEST_LABEL: Final = 63

OF_MESHES: Final = (
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-forwarded-proto",
)
"""What a sidecar adds to plain HTTP and a vendor has no business to know: names of Services, workloads and labels."""

_OF_EDGES: Final = ("x-envoy-external-address", "x-envoy-internal", "x-forwarded-for")
"""What a gateway of Istio's adds besides, which takes a pod for a client from outside."""


def leaves_by_gateway(host: MeshHost, gateway: MeshGateway) -> bool:
    """Whether requests to this host leave the mesh at its edge.

    Not those to an address, which has no name to be told by there, to a Service of the cluster, which do not leave it,
    and to a host with two ports of a kind, which are one there.
    """
    if gateway.egress is None or not host.providers or host.service is not None or is_ip(host.name):
        return False
    return len(host.own_tls_ports) <= 1 and len(host.own_http_ports) <= 1


def egress_gateway_objects(host: MeshHost, gateway: MeshGateway) -> Iterator[IstioObject]:
    """What opens the edge for this host, and brings what arrives there on to it."""
    assert gateway.egress is not None, "there is no egress gateway"
    servers: list[dict[str, Any]] = []
    if host.own_http_ports:
        port = {"number": EGRESS_HTTP_PORT, "name": "http", "protocol": "HTTP"}
        servers.append({"port": port, "hosts": [host.mesh_name]})
    if host.own_tls_ports:
        port = {"number": EGRESS_TLS_PORT, "name": "tls", "protocol": "TLS"}
        servers.append({"port": port, "hosts": [host.mesh_name], "tls": {"mode": "PASSTHROUGH"}})
    label, value = gateway.egress.label
    opened = istio_object(
        gateway,
        "Gateway",
        _about(host, gateway),
        f"lets requests to {host.name} through {gateway.egress.name}",
        {"selector": {label: value}, "servers": servers},
        host.providers,
    )
    yield opened
    at_edge = {"gateways": [f"{opened.namespace}/{opened.name}"]}
    http = [
        {
            "match": [{**at_edge, "port": EGRESS_HTTP_PORT}],
            "route": [{"destination": {"host": host.mesh_name, "port": {"number": port}}}],
            "headers": {"request": {"remove": [*OF_MESHES, *_OF_EDGES]}},
            "retries": {"attempts": 0},
        }
        for port in host.own_http_ports
    ]
    tls = [
        {
            "match": [{**at_edge, "port": EGRESS_TLS_PORT, "sniHosts": [host.mesh_name]}],
            "route": [{"destination": {"host": host.mesh_name, "port": {"number": port}}}],
        }
        for port in host.own_tls_ports
    ]
    yield istio_object(
        gateway,
        "VirtualService",
        _about(host, gateway),
        f"brings what arrives for {host.name} at {gateway.egress.name} on to it",
        {
            "hosts": [host.mesh_name],
            "exportTo": [".", gateway.egress.namespace],
            **at_edge,
            **({"http": http} if http else {}),
            **({"tls": tls} if tls else {}),
        },
        host.providers,
    )


def _about(host: MeshHost, gateway: MeshGateway) -> str:
    """For the name of a Gateway, which a VirtualService takes only if it is a label of DNS."""
    unique = text_hash(host.mesh_name)
    room = _LONGEST_LABEL - len(f"{gateway.name}-edge--{unique}")
    readable = host.mesh_name.replace(".", "-")[: max(room, 0)].strip("-")
    return f"edge-{readable}-{unique}" if readable else f"edge-{unique}"
