"""The Envoy cluster of a provider: its address, its transport, and how long an attempt may take."""

import ipaddress
from typing import Any, Final

from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.attempt_filters import attempt_filters
from limpet_operator.publish.encode import Json, typed
from limpet_operator.publish.envoy_settings import NEVER_FULL, EnvoySettings
from limpet_operator.publish.tunnel import proxy_cluster, proxy_of, tunnelled_endpoint, tunnelled_transport
from limpet_operator.resources.proxy import Proxy
from limpet_operator.resources.url import Url, is_ip

_BREAKERS: Final = {
    "thresholds": [
        {
            "max_connections": NEVER_FULL,
            "max_pending_requests": NEVER_FULL,
            "max_requests": NEVER_FULL,
            "max_retries": NEVER_FULL,
        }
    ]
}
_STATIC: Final = {"type": "STATIC"}
_RAW: Final = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": typed("transport_sockets.raw_buffer.v3.RawBuffer"),
}


def provider_cluster(provider: PlannedProvider, settings: EnvoySettings) -> Json:
    """The cluster named as the provider is."""
    url, proxy = provider.spec.url, proxy_of(provider, settings)
    transport = _transport(provider, settings)
    return {
        "name": provider.name,
        "connect_timeout": f"{provider.spec.timeouts.connect_s}s",
        **(discovery(url, settings) if proxy is None else _STATIC),
        # A cluster that waits for DNS would hold back the acknowledgement of every other change.
        "wait_for_warm_on_init": False,
        "load_assignment": {
            "cluster_name": provider.name,
            "endpoints": [
                _endpoint(url.host, url.port, 0) if proxy is None else tunnelled_endpoint(url, proxy),
                _UNREACHABLE,
            ],
        },
        "transport_socket": transport if proxy is None else tunnelled_transport(transport),
        "circuit_breakers": _BREAKERS,
        "typed_extension_protocol_options": http_options(provider, attempt_filters(provider, settings)),
    }


def http_options(provider: PlannedProvider, filters: list[Json]) -> Json:
    """How HTTP is spoken with a provider, with these upstream filters."""
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "upstreams.http.v3.HttpProtocolOptions",
            explicit_http_config={"http_protocol_options": {}},
            common_http_protocol_options={
                "idle_timeout": f"{provider.spec.idle_connection_s}s",
                # Of each attempt here, from the connection to the answer's end. Routes of streams switch it off.
                "max_stream_duration": f"{provider.spec.timeouts.unstreamed_s}s",
            },
            http_filters=filters,
        )
    }


def discovery(at: Url | Proxy, settings: EnvoySettings) -> Json:
    """How Envoy finds the addresses of a host."""
    if is_ip(at.host):
        return _STATIC
    return {
        "cluster_type": {
            "name": "envoy.cluster.dns",
            "typed_config": typed(
                "clusters.dns.v3.DnsCluster",
                respect_dns_ttl=True,
                dns_min_refresh_rate="5s",
                dns_refresh_rate="30s",
                dns_failure_refresh_rate={"base_interval": "1s", "max_interval": "10s"},
                dns_lookup_family=settings.dns_lookup_family,
                **_resolver(settings),
            ),
        }
    }


def _resolver(settings: EnvoySettings) -> Json:
    if not settings.dns_servers:
        return {}
    servers = [
        {"socket_address": {"protocol": "UDP", "address": server.host, "port_value": server.port}}
        for server in settings.dns_servers
    ]
    resolver = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": typed("network.dns_resolver.cares.v3.CaresDnsResolverConfig", resolvers=servers),
    }
    return {"typed_dns_resolver_config": resolver}


def _endpoint(host: str, port: int, priority: int) -> Json:
    address = {"socket_address": {"address": host, "port_value": port}}
    return {"priority": priority, "lb_endpoints": [{"endpoint": {"hostname": host, "address": address}}]}


_UNREACHABLE: Final = _endpoint("127.0.0.1", 0, 1)
"""Used when the provider has no usable host: a failed connection is retried elsewhere, Envoy's own 503 for an empty
cluster would not be. Nothing can listen on port 0, so no other program is sent the credential."""


def _transport(provider: PlannedProvider, settings: EnvoySettings) -> Json:
    if provider.spec.url.scheme == "http":
        return _RAW
    trusted = {"inline_string": provider.ca_pem} if provider.ca_pem else {"filename": settings.system_ca_file}
    server_name = provider.spec.tls.server_name if provider.spec.tls else None
    host = provider.spec.url.host
    if is_ip(host) and not server_name:
        # An address is no server name (RFC 6066): none is sent, and the certificate must carry the address.
        address = {"san_type": "IP_ADDRESS", "matcher": {"exact": str(ipaddress.ip_address(host))}}
        return _tls({"trusted_ca": trusted, "match_typed_subject_alt_names": [address]})
    asked_for = {"sni": server_name} if server_name else {"auto_host_sni": True}
    return _tls({"trusted_ca": trusted}, **asked_for, auto_sni_san_validation=True)


def _tls(validation: Json, **names: Any) -> Json:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "transport_sockets.tls.v3.UpstreamTlsContext",
            **names,
            common_tls_context={"validation_context": validation},
        ),
    }


def cluster_of_proxy(proxy: Proxy, settings: EnvoySettings) -> Json:
    """The cluster of a proxy that providers are reached through."""
    return proxy_cluster(proxy, discovery(proxy, settings), _BREAKERS)
