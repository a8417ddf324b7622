"""Envoy's bootstrap: its identity, and where the control plane and its own admin page are.

On a laptop the control plane is at a Unix socket; in a cluster it is a Service behind mutual TLS. The chart contains
the cluster's files as text, and a test compares them with these functions.
"""

from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.publish.encode import Json, listening, typed
from limpet_operator.publish.envoy_settings import CONTROLPLANE_CLUSTER
from limpet_operator.publish.overload import MAX_CONNECTIONS, overload_manager

_ADS: Final = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
"""No time limit on the first answer: an Envoy without configuration must not call itself ready."""

_EXTENSIONS: Final = [
    {
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": typed("bootstrap.internal_listener.v3.InternalListener"),
    }
]
"""Without it no provider could be reached through a proxy."""
_SDS_DIR: Final = "/etc/limpet/envoy"
_TLS_DIR: Final = "/etc/limpet/tls"
CLIENT_SECRET: Final = ("client", f"{_SDS_DIR}/client.yaml")
"""The gateway's own certificate: as SDS names it, and its file."""
MESH_SECRET: Final = ("mesh", f"{_SDS_DIR}/mesh.yaml")
"""The authority of a mesh whose sidecars ask this gateway's workers."""
_MESH_DIR: Final = "/etc/limpet/mesh"
_CONTROLPLANE_PORT: Final = 18000
_ADMIN: Final = ("127.0.0.1", 9901)
_ADMIN_CLUSTER: Final = "limpet_admin"

_PAGES: Final = (
    ("limpet_open", 9902, ("/ready", "/stats/prometheus")),
    ("limpet_probes", 9903, ("/ready",)),
)
"""Parts of the admin page that others may see, and their ports; the second is for the kubelet alone."""
_IDLE_S: Final = 10
"""How long a connection to these may be idle."""


def bootstrap(node: str, controlplane: Json, admin: Json, heap_bytes: int) -> Json:
    """The bootstrap file. `controlplane` and `admin` are Envoy addresses: `{"pipe": …}` or `{"socket_address": …}`.

    `heap_bytes` is what its memory may grow to.
    """
    return {
        "overload_manager": overload_manager(heap_bytes),
        "node": {"id": node, "cluster": "limpet"},
        "admin": {"address": admin, "ignore_global_conn_limit": True},
        "dynamic_resources": _dynamic_resources(),
        "bootstrap_extensions": _EXTENSIONS,
        "static_resources": {
            "clusters": [
                {
                    "name": CONTROLPLANE_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": _assignment(CONTROLPLANE_CLUSTER, controlplane),
                    "typed_extension_protocol_options": _http2({}),
                }
            ]
        },
    }


def pod_bootstrap(
    operator: str, heap_bytes: int | None, host: str = "::", *, max_connections: int = MAX_CONNECTIONS
) -> Json:
    """The same in a cluster. `operator` is the Service's name, which the server's certificate must carry.

    The flags `--service-node` and `--service-cluster` identify this Envoy. Two listeners at `host` pass readiness and
    metrics on from the admin page, which itself stays on loopback. `heap_bytes`: None if the container has no limit.
    """
    transport = _mutual_tls(operator, _by_files())
    return _in_a_network(
        _controlplane_by_name(HostPort(operator, _CONTROLPLANE_PORT), transport), heap_bytes, host, max_connections
    )


def outside_bootstrap(
    node: str, operator: HostPort, tls_dir: str | None, operator_name: str, pages_host: str = _ADMIN[0]
) -> Json:
    """The same for an Envoy that somebody starts beside workers of their own, in one file.

    `tls_dir` holds tls.crt, tls.key and ca.crt, which are read at its start; None: the operator is on this machine and
    speaks no TLS. `operator_name` must be in the operator's certificate.
    """
    transport = None if tls_dir is None else _mutual_tls(operator_name, _in_place(tls_dir, operator_name))
    config = _in_a_network(_controlplane_by_name(operator, transport), None, pages_host, MAX_CONNECTIONS)
    return {"node": {"id": node, "cluster": "limpet"}, **config}


def _in_a_network(controlplane: Json, heap_bytes: int | None, host: str, max_connections: int) -> Json:
    return {
        "overload_manager": overload_manager(heap_bytes, max_connections),
        "admin": {"address": _socket(*_ADMIN), "ignore_global_conn_limit": True},
        "dynamic_resources": _dynamic_resources(),
        "bootstrap_extensions": _EXTENSIONS,
        "static_resources": {
            "clusters": [
                controlplane,
                {
                    "name": _ADMIN_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": _assignment(_ADMIN_CLUSTER, _socket(*_ADMIN)),
                },
            ],
            "listeners": [_page(host, *page) for page in _PAGES],
        },
    }


def _controlplane_by_name(operator: HostPort, transport: Json | None) -> Json:
    return {
        "name": CONTROLPLANE_CLUSTER,
        "connect_timeout": "1s",
        "cluster_type": {
            "name": "envoy.cluster.dns",
            "typed_config": typed(
                "clusters.dns.v3.DnsCluster",
                # Replicas come and go; learning of it late gains nothing.
                dns_refresh_rate="5s",
                dns_failure_refresh_rate={"base_interval": "1s", "max_interval": "5s"},
                # A Service has addresses of its pods' families and of no other.
                dns_lookup_family="V4_PREFERRED",
            ),
        },
        "load_assignment": _assignment(CONTROLPLANE_CLUSTER, _socket(*operator)),
        # A replica that hangs or whose machine died leaves no FIN.
        "typed_extension_protocol_options": _http2({"connection_keepalive": {"interval": "15s", "timeout": "5s"}}),
        **({} if transport is None else {"transport_socket": transport}),
    }


def pod_secrets(operator: str) -> dict[str, Json]:
    """The files beside it, by name: Envoy reads a certificate again when it changes only if it comes as such a file."""
    return {
        "client.yaml": _sds_file(
            "client",
            tls_certificate={
                "certificate_chain": {"filename": f"{_TLS_DIR}/tls.crt"},
                "private_key": {"filename": f"{_TLS_DIR}/tls.key"},
                "watched_directory": {"path": _TLS_DIR},
            },
        ),
        "ca.yaml": _sds_file(
            "ca",
            validation_context={
                **_validation({"filename": f"{_TLS_DIR}/ca.crt"}, operator),
                "watched_directory": {"path": _TLS_DIR},
            },
        ),
    }


def mesh_secret() -> Json:
    """The file of MESH_SECRET; the mesh's ConfigMap `istio-ca-root-cert` is mounted beside it."""
    trusted = {"filename": f"{_MESH_DIR}/root-cert.pem"}
    return _sds_file(
        MESH_SECRET[0], validation_context={"trusted_ca": trusted, "watched_directory": {"path": _MESH_DIR}}
    )


def _dynamic_resources() -> Json:
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "envoy_grpc": {
                        "cluster_name": CONTROLPLANE_CLUSTER,
                        "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"}},
                    }
                }
            ],
        },
        "cds_config": _ADS,
        "lds_config": _ADS,
    }


def _mutual_tls(server: str, certificates: Json) -> Json:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "transport_sockets.tls.v3.UpstreamTlsContext",
            sni=server,
            common_tls_context={"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}, **certificates},
        ),
    }


def _by_files() -> Json:
    """Those of `pod_secrets`."""

    def file(name: str) -> Json:
        return {
            "name": name,
            "sds_config": {
                "resource_api_version": "V3",
                "path_config_source": {"path": f"{_SDS_DIR}/{name}.yaml"},
            },
        }

    return {
        "tls_certificate_sds_secret_configs": [file("client")],
        "validation_context_sds_secret_config": file("ca"),
    }


def _in_place(tls_dir: str, server: str) -> Json:
    chain, key, authority = ({"filename": f"{tls_dir}/{name}"} for name in ("tls.crt", "tls.key", "ca.crt"))
    return {
        "tls_certificates": [{"certificate_chain": chain, "private_key": key}],
        "validation_context": _validation(authority, server),
    }


def _validation(authority: Json, server: str) -> Json:
    return {
        "trusted_ca": authority,
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": server}}],
    }


def _sds_file(name: str, **secret: Json) -> Json:
    return {"resources": [{**typed("transport_sockets.tls.v3.Secret"), "name": name, **secret}]}


def _page(host: str, name: str, port: int, paths: Sequence[str]) -> Json:
    return {
        "name": name,
        "address": listening(host, port),
        # However many clients there are and whatever they send: a busy pod must not be taken for a broken one.
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": typed(
                            "filters.network.http_connection_manager.v3.HttpConnectionManager",
                            stat_prefix=name,
                            request_headers_timeout="2s",
                            common_http_protocol_options={"idle_timeout": f"{_IDLE_S}s"},
                            route_config={"virtual_hosts": [_only(paths)]},
                            http_filters=[
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": typed("filters.http.router.v3.Router"),
                                }
                            ],
                        ),
                    }
                ]
            }
        ],
    }


def _only(paths: Sequence[str]) -> Json:
    return {
        "name": "open",
        "domains": ["*"],
        "routes": [
            {
                "match": {
                    "path": path,
                    "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
                },
                "route": {"cluster": _ADMIN_CLUSTER},
            }
            for path in paths
        ],
    }


def _assignment(cluster: str, address: Json) -> Json:
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _http2(options: Json) -> Json:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": options}
        )
    }


def _socket(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
