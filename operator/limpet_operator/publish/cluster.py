"""The Envoy cluster of a provider: where it is, how to speak to it, and the total chain that every attempt passes.

The chain has the same filters in every cluster and each of them sets or removes everything it is about, because Envoy
hands attempt 2 the headers as attempt 1 left them: a partial chain would send one vendor's key to another.
"""

import ipaddress
import json
from importlib.resources import files
from typing import Final

from limpet_operator.plan import PlannedProvider
from limpet_operator.publish.encode import Json, set_header, typed, typed_struct
from limpet_operator.publish.gateway import Gateway

_UPSTREAM_LUA: Final = files(__package__).joinpath("upstream.lua").read_text()

_NEVER_FULL: Final = 1_000_000
"""A circuit breaker that opens answers 503 without a retry, so it must never be the one to decide."""

CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Every header that a Provider's `credential.header` may name, and so every header that an attempt must not inherit."""

_STRIPPED: Final = [{"remove": header} for header in CREDENTIAL_HEADERS]
_CODEC: Final = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": typed("filters.http.upstream_codec.v3.UpstreamCodec"),
}
_RAW: Final = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": typed("transport_sockets.raw_buffer.v3.RawBuffer"),
}


def secret_name(provider: str) -> str:
    """The SDS name under which Envoy finds this provider's credential."""
    return f"limpet/credential/{provider}"


def provider_cluster(provider: PlannedProvider, gateway: Gateway) -> Json:
    """The cluster named as the provider is."""
    url = provider.spec.url
    return {
        "name": provider.name,
        "connect_timeout": f"{provider.spec.timeouts.connect_s}s",
        **_discovery(url.host),
        # A cluster that waits for DNS would hold back the acknowledgement of every other change.
        "wait_for_warm_on_init": False,
        "load_assignment": {
            "cluster_name": provider.name,
            "endpoints": [_endpoint(url.host, url.port, 0), _unavailable_endpoint(gateway.unavailable_port)],
        },
        "transport_socket_matches": [
            {"name": "unavailable", "match": {"unavailable": True}, "transport_socket": _RAW},
            {"name": "provider", "match": {}, "transport_socket": _transport(provider, gateway)},
        ],
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _NEVER_FULL,
                    "max_pending_requests": _NEVER_FULL,
                    "max_requests": _NEVER_FULL,
                    "max_retries": _NEVER_FULL,
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions",
                # By ALPN Envoy could speak HTTP/2, but it refuses that for a cluster with a plain-text endpoint beside.
                explicit_http_config={"http_protocol_options": {}},
                http_filters=[_strip_and_name(provider), *_credential(provider), _rewrite(provider), _CODEC],
            )
        },
    }


def _discovery(host: str) -> Json:
    if _is_ip(host):
        return {"type": "STATIC"}
    return {
        "cluster_type": {
            "name": "envoy.cluster.dns",
            "typed_config": typed(
                "clusters.dns.v3.DnsCluster",
                respect_dns_ttl=True,
                dns_min_refresh_rate="5s",
                dns_refresh_rate="30s",
                dns_failure_refresh_rate={"base_interval": "1s", "max_interval": "10s"},
                dns_lookup_family="V4_PREFERRED",
            ),
        }
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _endpoint(host: str, port: int, priority: int) -> Json:
    address = {"socket_address": {"address": host.strip("[]"), "port_value": port}}
    return {"priority": priority, "lb_endpoints": [{"endpoint": {"hostname": host, "address": address}}]}


def _unavailable_endpoint(port: int) -> Json:
    """Taken when the provider has no usable host: its 503 is retried, Envoy's own for an empty cluster would not be."""
    endpoint = _endpoint("127.0.0.1", port, 1)
    endpoint["lb_endpoints"][0]["metadata"] = {
        "filter_metadata": {"envoy.transport_socket_match": {"unavailable": True}}
    }
    return endpoint


def _transport(provider: PlannedProvider, gateway: Gateway) -> Json:
    if provider.spec.url.scheme == "http":
        return _RAW
    trusted = {"inline_string": provider.ca_pem} if provider.ca_pem else {"filename": gateway.system_ca_file}
    server_name = provider.spec.tls.server_name if provider.spec.tls else None
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "transport_sockets.tls.v3.UpstreamTlsContext",
            **({"sni": server_name} if server_name else {"auto_host_sni": True}),
            auto_sni_san_validation=True,
            common_tls_context={"validation_context": {"trusted_ca": trusted}},
        ),
    }


def _strip_and_name(provider: PlannedProvider) -> Json:
    """Nobody's key on the way in; on the way out the name of who answered, which Envoy's own replies lack."""
    return {
        "name": "limpet.strip_and_name",
        "typed_config": typed(
            "filters.http.header_mutation.v3.HeaderMutation",
            mutations={
                "request_mutations": _STRIPPED,
                "response_mutations": [{"append": set_header("x-limpet-provider", provider.name)}],
            },
        ),
    }


def _credential(provider: PlannedProvider) -> list[Json]:
    """Nothing for a provider without a credential: the strip before it has already removed everybody else's."""
    credential = provider.spec.credential
    if credential is None:
        return []
    return [
        {
            "name": "envoy.filters.http.credential_injector",
            "typed_config": typed(
                "filters.http.credential_injector.v3.CredentialInjector",
                overwrite=True,
                credential={
                    "name": "envoy.http.injected_credentials.generic",
                    "typed_config": typed(
                        "http.injected_credentials.generic.v3.Generic",
                        credential={
                            "name": secret_name(provider.name),
                            "sds_config": {"ads": {}, "resource_api_version": "V3"},
                        },
                        header=credential.header,
                    ),
                },
            ),
        }
    ]


def _rewrite(provider: PlannedProvider) -> Json:
    url = provider.spec.url
    host = url.host if url.port == {"http": 80, "https": 443}[url.scheme] else f"{url.host}:{url.port}"
    renames = {
        f"model:{model.name}": json.dumps(model.upstream_name)
        for model in provider.spec.models
        if model.upstream_name != model.name
    }
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": typed_struct(
            "filters.http.lua.v3.Lua",
            shared_vm_id="limpet",
            default_source_code={"inline_string": _UPSTREAM_LUA},
            filter_context={
                "host": host,
                "prefix": url.path_prefix,
                **renames,
                **({"renames": True} if renames else {}),
            },
        ),
    }


def extproc_cluster(gateway: Gateway, name: str) -> Json:
    """All ext_proc workers of this Envoy; one that died is left out after its first failed request.

    Health checks leave out one that hangs, and let one that starts in as soon as it has a catalog. While none is
    healthy all are asked, since a request that nobody decides is routed all the same.
    """
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"pipe": {"path": path}}}} for path in gateway.extproc_sockets
                    ]
                }
            ],
        },
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": _NEVER_FULL, "max_pending_requests": _NEVER_FULL, "max_requests": _NEVER_FULL}
            ]
        },
        "health_checks": [
            {
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "timeout": "1s",  # A worker that is only slow must not lose its connections.
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        "close_connections_on_host_health_failure": True,
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "interval": "1s",
            "base_ejection_time": "2s",
            "max_ejection_percent": 50,
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
            )
        },
    }
