"""What sidecars of a mesh are configured with, so that they ask our workers and reach providers by themselves. Pure.

A mesh has its own clusters, listeners and routes; these are the parts that are added to them. A request that is not
decided keeps the route that the mesh has for it, which is to lead to the gateway: it never goes to a provider. So a
client cannot choose one either, as the route to providers demands metadata that only ext_proc writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from limpet_extproc.contract.envoy import (
    CLUSTER_HEADER,
    CLUSTER_NAMES,
    DEBUG_HEADER,
    DEBUG_KEPT,
    DECISION_CLIENT,
    DECISION_METADATA,
    DECISION_REASON,
    DETAILS_PREFIX,
    OWN_HEADERS,
    RECORD_METADATA,
    REQUEST_LOG,
    WORKLOAD_KEPT,
)
from limpet_extproc.contract.host_port import HostPort
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.attempt_filters import attempt_filters_of_sidecars, attempt_program
from limpet_operator.publish.cluster import http_options
from limpet_operator.publish.encode import Json, set_header, typed
from limpet_operator.publish.envoy_settings import EXT_PROC_FILTER, EXT_PROC_WAIT_S, EnvoySettings
from limpet_operator.publish.extproc_cluster import OUTLIER_DETECTION
from limpet_operator.publish.filter_states import originals, request_head
from limpet_operator.publish.headers import beginning_with
from limpet_operator.publish.listener import access_log_to, vendor_headers_filter
from limpet_operator.publish.route_action import same_provider_again, to_providers

_TOKEN_FILE: Final = "/var/run/secrets/tokens/istio-token"  # noqa: S105 (its path)
_OWN_CERTIFICATE: Final = {
    "name": "default",
    "sds_config": {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
        },
    },
}
"""Where a sidecar of Istio has its own certificate from."""


@dataclass(frozen=True, slots=True)
class SidecarSettings:
    """What is told to the sidecars of one gateway."""

    workers_cluster: str
    """Of the mesh, to the listener for sidecars of the gateway's pods."""
    workers_name: str
    """The DNS name in the gateway's certificate."""
    credentials: HostPort
    """Where the operator gives out credentials."""
    credentials_name: str
    """The DNS name in the operator's certificate."""
    ca_pem: str
    """The authority of both certificates."""
    cluster_names: str
    """The template by which the mesh names the clusters of providers."""
    own_certificate: Mapping[str, Any] = field(default_factory=lambda: _OWN_CERTIFICATE)
    """Where a sidecar has its own certificate from, as Envoy's `SdsSecretConfig`."""
    token_file: str = _TOKEN_FILE
    """In every sidecar: the token that names its service account to the operator."""


def http_filters(settings: EnvoySettings, sidecars: SidecarSettings) -> list[Json]:
    """To stand before the router in this order, each of them off but where `virtual_host_patch` holds."""
    filters = [_forget_own_headers(), _ext_proc(sidecars), *_noting(settings), vendor_headers_filter()]
    return [{**each, "disabled": True} for each in filters]


def virtual_host_patch(settings: EnvoySettings) -> Json:
    """For the hosts whose requests ext_proc is asked about."""
    # Each by its own kind of setting: Istio refuses an empty one, which every Envoy would take.
    mutation = typed("filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations={})
    on = {
        _FORGET: mutation,
        EXT_PROC_FILTER: typed("filters.http.ext_proc.v3.ExtProcPerRoute", overrides={}),
        **{each["name"]: typed("filters.http.set_filter_state.v3.Config") for each in _noting(settings)},
        vendor_headers_filter()["name"]: mutation,
    }
    return {
        "request_body_buffer_limit": settings.body_limit_bytes,
        "include_request_attempt_count": True,
        "typed_per_filter_config": on,
    }


def route_configuration_patch() -> Json:
    """For all routes beside which there are some of `provider_route`: the program of every attempt, given once."""
    return {"typed_per_filter_config": attempt_program()}


def provider_route(settings: EnvoySettings, cluster: str) -> Json:
    """Before the other routes of such a host: to this cluster, if it is the one that ext_proc has named.

    One for each provider, not one that takes the name from the header: what the mesh has not told the sidecar of yet
    is left to the gateway, like all that is not decided.
    """
    checked = [{"filter": DECISION_METADATA, "path": [{"key": DECISION_CLIENT}], "value": {"bool_match": True}}]
    decided = {"filter": DECISION_METADATA, "path": [{"key": DECISION_REASON}], "value": {"present_match": True}}
    match = {
        "prefix": "/",
        "headers": [{"name": CLUSTER_HEADER, "string_match": {"exact": cluster}}],
        "dynamic_metadata": [decided, *(checked if settings.keys_required else [])],
    }
    action = {"cluster": cluster, **same_provider_again(settings)}
    route = to_providers(match, action, settings, decided=False)
    return {key: value for key, value in route.items() if key != "typed_per_filter_config"} | {
        "name": f"limpet.provider.{cluster}"
    }


def access_log(sidecars: SidecarSettings) -> Json:
    """What became of a request, for the workers: of those alone that ext_proc was asked about."""
    return {
        **access_log_to(_workers(sidecars), REQUEST_LOG, [_names(sidecars)]),
        "filter": {
            "and_filter": {
                "filters": [
                    {"log_type_filter": {"types": ["DownstreamPeriodic"], "exclude": True}},
                    {
                        "extension_filter": {
                            "name": "envoy.access_loggers.extension_filters.cel",
                            "typed_config": typed("access_loggers.filters.cel.v3.ExpressionFilter", expression=_OURS),
                        }
                    },
                ]
            }
        },
    }


def cluster_patch(provider: PlannedProvider, sidecars: SidecarSettings) -> Json:
    """For the mesh's cluster of a provider: what a request passes on its way there, as in our own gateway."""
    filters = attempt_filters_of_sidecars(provider, _credentials(sidecars))
    return {"typed_extension_protocol_options": http_options(provider, filters)}


def workers_cluster_patch(sidecars: SidecarSettings) -> Json:
    """For the mesh's cluster of the workers: HTTP/2, and TLS between the mesh's identity and our certificate."""
    ours = {"san_type": "DNS", "matcher": {"exact": sidecars.workers_name}}
    return {
        "connect_timeout": "1s",
        "outlier_detection": OUTLIER_DETECTION,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={
                    "http2_protocol_options": {"connection_keepalive": {"interval": "15s", "timeout": "5s"}}
                },
            )
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": typed(
                "transport_sockets.tls.v3.UpstreamTlsContext",
                sni=sidecars.workers_name,
                common_tls_context={
                    "alpn_protocols": ["h2"],
                    "tls_certificate_sds_secret_configs": [dict(sidecars.own_certificate)],
                    "validation_context": {
                        "trusted_ca": {"inline_string": sidecars.ca_pem},
                        "match_typed_subject_alt_names": [ours],
                    },
                },
            ),
        },
    }


_FORGET: Final = "limpet.forget_own_headers"
_OURS: Final = (
    f"'{DECISION_METADATA}' in metadata.filter_metadata || response.code_details.startsWith('{DETAILS_PREFIX}')"
)


def _noting(settings: EnvoySettings) -> list[Json]:
    by_header = replace(settings, header_mode=True)
    return [request_head(by_header), originals(by_header)]


def _forget_own_headers() -> Json:
    """A client's own `x-limpet-*` never counts, but for the one that asks for an explanation."""
    mutations: list[Json] = [
        {"remove": DEBUG_KEPT},
        {"append": set_header(DEBUG_KEPT, f"%REQ({DEBUG_HEADER})%")},
        {"remove": WORKLOAD_KEPT},
        beginning_with(OWN_HEADERS),
    ]
    return {
        "name": _FORGET,
        "typed_config": typed(
            "filters.http.header_mutation.v3.HeaderMutation", mutations={"request_mutations": mutations}
        ),
    }


def _ext_proc(sidecars: SidecarSettings) -> Json:
    return {
        "name": EXT_PROC_FILTER,
        "typed_config": typed(
            "filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={
                "envoy_grpc": _workers(sidecars),
                "initial_metadata": [_names(sidecars)],
            },
            # Undecided requests go on to the gateway.
            failure_mode_allow=True,
            message_timeout=f"{EXT_PROC_WAIT_S}s",
            processing_mode={
                "request_header_mode": "SEND",
                "request_body_mode": "BUFFERED",
                "response_header_mode": "SKIP",
            },
            metadata_options={"receiving_namespaces": {"untyped": [DECISION_METADATA, RECORD_METADATA]}},
        ),
    }


def _workers(sidecars: SidecarSettings) -> Json:
    # Istio's names of clusters are no names of hosts, which Envoy would send them as.
    return {"cluster_name": sidecars.workers_cluster, "authority": sidecars.workers_name}


def _names(sidecars: SidecarSettings) -> Json:
    return {"key": CLUSTER_NAMES, "value": sidecars.cluster_names}


def _credentials(sidecars: SidecarSettings) -> Json:
    """SDS from the operator.

    By gRPC's own client: Envoy takes SDS through its clusters only from those of its bootstrap, which a mesh writes.
    """
    token: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
        "secret_data": {"filename": sidecars.token_file},
        "header_key": "authorization",
        "header_prefix": "Bearer ",
    }
    plugin = "envoy.grpc_credentials.file_based_metadata"
    return {
        "resource_api_version": "V3",
        # A cluster without its credential answers 401 and must not hold up others.
        "initial_fetch_timeout": "2s",
        "api_config_source": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "google_grpc": {
                        "target_uri": f"dns:///{sidecars.credentials}",
                        "stat_prefix": "limpet_credentials",
                        "channel_credentials": {"ssl_credentials": {"root_certs": {"inline_string": sidecars.ca_pem}}},
                        "call_credentials": [{"from_plugin": {"name": plugin, "typed_config": token}}],
                        "credentials_factory_name": plugin,
                        "channel_args": {
                            "args": {"grpc.ssl_target_name_override": {"string_value": sidecars.credentials_name}}
                        },
                    },
                    "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "5s"}},
                }
            ],
        },
    }
