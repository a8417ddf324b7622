"""Providers behind an HTTP proxy: a CONNECT tunnel that the provider's cluster does not notice.

The cluster connects to a listener inside Envoy instead of the provider's host, and speaks TLS through it as usual, so
the proxy sees the host's name and no more. That listener asks the proxy for a tunnel to the address in the endpoint's
metadata. The proxy resolves the provider's name, which networks with such proxies often can't.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.encode import Json, typed_struct
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.resources.proxy import Proxy
from limpet_operator.resources.url import Url

_METADATA: Final = "limpet.tunnel"
_CONNECT_TIMEOUT: Final = "5s"


def proxy_of(provider: PlannedProvider, settings: EnvoySettings) -> Proxy | None:
    """The proxy through which a provider is reached; None: directly."""
    own = provider.spec.proxy
    if own is None:
        return settings.proxies.to(provider.spec.url)
    return None if own == "direct" else own


def tunnels(providers: Iterable[PlannedProvider], settings: EnvoySettings) -> Iterator[Proxy]:
    """Every proxy that some provider is reached through, each once."""
    proxies = (proxy_of(provider, settings) for provider in providers)
    yield from sorted({proxy for proxy in proxies if proxy is not None}, key=str)


def tunnel_name(proxy: Proxy) -> str:
    """Name of the proxy's cluster and of the listener before it; no Kubernetes object can have it."""
    return f"limpet_proxy_{proxy.host}_{proxy.port}"


def tunnelled_endpoint(url: Url, proxy: Proxy) -> Json:
    """Instead of the provider's own address."""
    address = {"envoy_internal_address": {"server_listener_name": tunnel_name(proxy), "endpoint_id": url.host_port}}
    return {
        "lb_endpoints": [
            {
                "endpoint": {"hostname": url.host, "address": address},
                "metadata": {"filter_metadata": {_METADATA: {"to": url.host_port}}},
            }
        ]
    }


def tunnelled_transport(inner: Json) -> Json:
    """The provider's transport, which passes the tunnel's destination to the listener."""
    return {
        "name": "envoy.transport_sockets.internal_upstream",
        "typed_config": typed_struct(
            "transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
            passthrough_metadata=[{"kind": {"host": {}}, "name": _METADATA}],
            transport_socket=inner,
        ),
    }


def tunnel_listener(proxy: Proxy) -> Json:
    """Inside Envoy; nothing else can connect to it."""
    name = tunnel_name(proxy)
    return {
        "name": name,
        "internal_listener": {},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": typed_struct(
                            "filters.network.tcp_proxy.v3.TcpProxy",
                            stat_prefix=name,
                            cluster=name,
                            idle_timeout="0s",
                            tunneling_config={"hostname": f"%DYNAMIC_METADATA({_METADATA}:to)%"},
                        ),
                    }
                ]
            }
        ],
    }


def proxy_cluster(proxy: Proxy, discovery: Json, breakers: Json) -> Json:
    """The proxy itself, whose name may have to be resolved."""
    address = {"socket_address": {"address": proxy.host, "port_value": proxy.port}}
    return {
        "name": tunnel_name(proxy),
        "connect_timeout": _CONNECT_TIMEOUT,
        "wait_for_warm_on_init": False,
        **discovery,
        "load_assignment": {
            "cluster_name": tunnel_name(proxy),
            "endpoints": [{"lb_endpoints": [{"endpoint": {"hostname": proxy.host, "address": address}}]}],
        },
        "circuit_breakers": breakers,
    }
