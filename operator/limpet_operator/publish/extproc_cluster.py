"""The Envoy cluster of the ext_proc workers."""

from typing import Final

from limpet_operator.publish.encode import Json, typed
from limpet_operator.publish.envoy_settings import NEVER_FULL, EnvoySettings

_HEALTH_CHECK: Final = {
    "interval": "0.5s",
    # Until the first request: a starting worker is checked often, so few requests precede its first check.
    "no_traffic_interval": "0.05s",
    "no_traffic_healthy_interval": "0.5s",
    "timeout": "1s",  # A slow worker must not lose its connections.
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    "grpc_health_check": {},
}

OUTLIER_DETECTION: Final = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 1,
    "enforcing_consecutive_local_origin_failure": 100,
    "interval": "1s",
    "base_ejection_time": "2s",
    "max_ejection_percent": 50,
}


def extproc_cluster(settings: EnvoySettings, name: str) -> Json:
    """All ext_proc workers of this Envoy; one that died is ejected after its first failed request.

    Health checks eject one that hangs, and admit one that starts as soon as it has a catalog. While none is healthy
    none is called: an undecided request is routed anyway, and need not wait.
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
                        {"endpoint": {"address": {"pipe": {"path": path}}}} for path in settings.extproc_sockets
                    ]
                }
            ],
        },
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": NEVER_FULL, "max_pending_requests": NEVER_FULL, "max_requests": NEVER_FULL}
            ]
        },
        "health_checks": [_HEALTH_CHECK],
        "close_connections_on_host_health_failure": True,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "outlier_detection": OUTLIER_DETECTION,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
            )
        },
    }
