"""The listener through which sidecars of a mesh ask our workers: by gRPC, and with an identity of the mesh.

It is for the Envoys beside applications alone. Who has no certificate of the mesh ends in the handshake, who is of
another namespace gets 403, and there are no more methods here than a sidecar calls.
"""

from typing import Final

from limpet_extproc.contract.envoy import CLUSTER_NAMES, ONE_MESSAGE, PLAIN_NAMES
from limpet_operator.publish.encode import Json, listening, typed
from limpet_operator.publish.envoy_settings import EXTPROC_CLUSTER, SIDECAR_LISTENER, SidecarAccess

PROCESS: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
STREAM_LOGS: Final = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"

_LONGEST_UPLOAD: Final = "300s"
"""Between the head and the end of the body of one request, as long as the gateway waits for that itself."""

_UNTOLD: Final = (ONE_MESSAGE[0], "x-forwarded-for", "x-forwarded-proto", "x-envoy-internal", "x-request-id")
"""A worker decodes the heads that it has seen before no second time, so no two are different without need."""


def sidecar_listener(access: SidecarAccess, host: str) -> Json:
    """Passes their calls on to the workers of this Envoy."""
    return {
        "name": SIDECAR_LISTENER,
        "address": listening(host, access.port),
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [{"transport_socket": _mutual_tls(access), "filters": [_http(access)]}],
    }


def _mutual_tls(access: SidecarAccess) -> Json:
    of_domain = {"san_type": "URI", "matcher": {"prefix": f"spiffe://{access.trust_domain}/"}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "transport_sockets.tls.v3.DownstreamTlsContext",
            require_client_certificate=True,
            common_tls_context={
                "alpn_protocols": ["h2"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificate_sds_secret_configs": [_file(access.certificate)],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [of_domain]},
                    "validation_context_sds_secret_config": _file(access.authority),
                },
            },
        ),
    }


def _file(named: tuple[str, str]) -> Json:
    """A secret in a file of Envoy's, which is read again when it or the directory that it watches changes."""
    name, path = named
    return {"name": name, "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": path}}}


def _http(access: SidecarAccess) -> Json:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=SIDECAR_LISTENER,
            codec_type="HTTP2",
            http2_protocol_options={
                "max_concurrent_streams": 1000,
                "initial_stream_window_size": 256 * 1024,
                "initial_connection_window_size": 1024 * 1024,
            },
            # A log stream is open for as long as its Envoy runs.
            stream_idle_timeout="0s",
            request_headers_timeout="30s",
            generate_request_id=False,
            skip_xff_append=True,
            route_config={"virtual_hosts": [{"name": "workers", "domains": ["*"], "routes": _ROUTES}]},
            http_filters=[
                _only_of(access),
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": typed("filters.http.router.v3.Router", suppress_envoy_headers=True),
                },
            ],
        ),
    }


def _only_of(access: SidecarAccess) -> Json:
    principals = [
        {"authenticated": {"principal_name": {"prefix": f"spiffe://{access.trust_domain}/ns/{namespace}/sa/"}}}
        for namespace in access.namespaces
    ]
    policy = {"permissions": [{"any": True}], "principals": principals}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": typed("filters.http.rbac.v3.RBAC", rules={"action": "ALLOW", "policies": {"sidecars": policy}}),
    }


def _to_workers(path: str, idle: str) -> Json:
    return {
        "match": {"path": path, "grpc": {}},
        "route": {"cluster": EXTPROC_CLUSTER, "timeout": "0s", "idle_timeout": idle},
        # Whoever cannot say how its clusters are called names them as we do, but always with the namespace.
        "request_headers_to_add": [
            {"header": {"key": CLUSTER_NAMES, "value": PLAIN_NAMES}, "append_action": "ADD_IF_ABSENT"}
        ],
        "request_headers_to_remove": list(_UNTOLD),
    }


_ROUTES: Final = [
    _to_workers(PROCESS, _LONGEST_UPLOAD),
    _to_workers(STREAM_LOGS, "0s"),
    _to_workers(HEALTH_CHECK, "5s"),
]
"""Nothing else has a route."""
