"""The listeners that clients speak to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from limpet_extproc.contract.envoy import (
    DEBUG_HEADER,
    DEBUG_KEPT,
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_REASON,
    DECISION_TELLS_EARLY,
    HEAD_ATTRIBUTE,
    OBJECT_BACKGROUND,
    OBJECT_METADATA,
    ONE_MESSAGE,
    OWN_HEADERS,
    PATH_STATE,
    RECORD_METADATA,
    REQUEST_LOG,
    ROUTE_METADATA,
    TRACE_HEADER,
    TRANSLATE_HEADER,
    WORKLOAD_KEPT,
)
from limpet_extproc.contract.reasons import UNDECIDED
from limpet_operator.publish.direct_responses import FRONT_PROGRAMS
from limpet_operator.publish.encode import Json, listening, set_header, typed, typed_struct
from limpet_operator.publish.envoy_settings import (
    CLIENT_LISTENER,
    CLIENT_ROUTES,
    EXT_PROC_FILTER,
    EXT_PROC_WAIT_S,
    EXTPROC_CLUSTER,
    FRONT_LUA,
    HEALTH,
    SERVING_SECRET,
    TLS_LISTENER,
    UNDECIDED_FILTER,
    VENDOR_HEADERS,
    EnvoySettings,
)
from limpet_operator.publish.filter_states import originals, request_head
from limpet_operator.publish.headers import beginning_with, vendor_headers
from limpet_operator.publish.local_replies import local_replies
from limpet_operator.publish.lua import program
from limpet_operator.publish.translation import answer_translation


def client_listener(settings: EnvoySettings) -> Json:
    """Early header clean-up, ext_proc, and the router with its access log."""
    return _listener(CLIENT_LISTENER, settings.listen_port, {"filters": [_http(settings)]}, settings)


def tls_listener(settings: EnvoySettings, port: int) -> Json:
    """The same for clients of `https://`.

    A mesh brings TLS here as it is, from the address by which its own words are known: what a client says of its
    workload must not count here.
    """
    chain = {"transport_socket": _tls(), "filters": [_http(replace(settings, tenant_from_workload=False))]}
    return _listener(TLS_LISTENER, port, chain, settings)


def _tls() -> Json:
    by_ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificate_sds_secret_configs": [{"name": SERVING_SECRET, "sds_config": by_ads}],
            },
        ),
    }


def _listener(name: str, port: int, chain: Json, settings: EnvoySettings) -> Json:
    also = [{"address": listening(host, port)} for host in settings.listen_also]
    return {
        "name": name,
        "address": listening(settings.listen_host, port),
        **({"additional_addresses": also} if also else {}),
        **({} if settings.shares_port else {"enable_reuse_port": False}),
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        # A thread that copies a large body serves no other request, so connections are spread by number, not by chance.
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [chain],
    }


_CORS: Json = {"name": "envoy.filters.http.cors", "typed_config": typed("filters.http.cors.v3.Cors")}

_ON_SOME_ROUTES: Final[list[Json]] = [
    {
        "name": FRONT_LUA,
        "disabled": True,
        "typed_config": typed(
            "filters.http.lua.v3.Lua",
            source_codes={name: {"inline_string": program(*files)} for name, files in FRONT_PROGRAMS.items()},
        ),
    },
    {
        # Unlike a route's answer it knows when Envoy drains, and a load balancer should go elsewhere.
        "name": HEALTH,
        "disabled": True,
        "typed_config": typed("filters.http.health_check.v3.HealthCheck", pass_through_mode=False),
    },
]


_TELLS_BEFORE_ITS_END: Final = (
    "response.code == 200 && (upstream.request_attempt_count > 1 || "
    f"('{DECISION_METADATA}' in metadata.filter_metadata && "
    f"'{DECISION_TELLS_EARLY}' in metadata.filter_metadata['{DECISION_METADATA}']) || "
    f"('{OBJECT_METADATA}' in metadata.filter_metadata && "
    f"'{OBJECT_BACKGROUND}' in metadata.filter_metadata['{OBJECT_METADATA}']))"
)
_WORTH_AN_ENTRY: Json = {
    "or_filter": {
        "filters": [
            {"log_type_filter": {"types": ["DownstreamPeriodic"], "exclude": True}},
            {
                "extension_filter": {
                    "name": "envoy.access_loggers.extension_filters.cel",
                    "typed_config": typed(
                        "access_loggers.filters.cel.v3.ExpressionFilter",
                        expression=_TELLS_BEFORE_ITS_END,
                    ),
                }
            },
        ]
    }
}
"""One entry a request, at its end. A request that was not answered at the first attempt has entries while it goes on: a
long answer must not hide for minutes that other providers fail. So has a response in the background, whose client may
leave or cancel it before its end, and one that others wait for because it brings a head to a cache."""


def _http(settings: EnvoySettings) -> Json:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=CLIENT_LISTENER,
            # From a proxy in front, which may not know the name, or a health check; a stream ends with the connection.
            http_protocol_options={"accept_http_10": True, "default_host_for_http_10": "localhost"},
            normalize_path=True,
            merge_slashes=True,
            # Names of models have slashes, and clients write them either way.
            path_with_escaped_slashes_action="KEEP_UNCHANGED",
            # A client that needs more at a time opens another connection. The windows bound what is under way, not what
            # a body may hold, which is what `limpet_operator.publish.overload` is there for.
            http2_protocol_options={
                # One bad request must not end the others of a proxy's connection.
                "override_stream_error_on_invalid_http_message": True,
                "max_concurrent_streams": 100,
                "initial_stream_window_size": 256 * 1024,
                "initial_connection_window_size": 1024 * 1024,
            },
            # Load balancers keep theirs for up to ten minutes, and must be the first to hang up.
            common_http_protocol_options={"idle_timeout": "700s"},
            rds={"route_config_name": CLIENT_ROUTES, "config_source": {"ads": {}, "resource_api_version": "V3"}},
            # Providers take as long as they need: the route bounds the wait for the first byte and the gaps after it.
            stream_idle_timeout="0s",
            request_headers_timeout="30s",
            request_timeout="300s",
            early_header_mutation_extensions=[_forget_internal_headers(settings)],
            http_filters=_filters(settings),
            access_log=[{**access_log_to({"cluster_name": EXTPROC_CLUSTER}, REQUEST_LOG), "filter": _WORTH_AN_ENTRY}],
            access_log_options={"access_log_flush_interval": "1s"},
            local_reply_config=local_replies(settings.body_limit_bytes, readable=bool(settings.cors_origins)),
        ),
    }


def _filters(settings: EnvoySettings) -> list[Json]:
    return [
        *([_CORS] if settings.cors_origins else []),
        *_ON_SOME_ROUTES,
        _default_decision(),
        request_head(settings),
        _ext_proc(settings),
        {
            "name": "envoy.filters.http.buffer",
            "typed_config": typed("filters.http.buffer.v3.Buffer", max_request_bytes=settings.body_limit_bytes),
        },
        _undecided(settings),
        originals(settings),
        vendor_headers_filter(),
        answer_translation(),
        {
            "name": "envoy.filters.http.router",
            "typed_config": typed(
                "filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            ),
        },
    ]


_WORKLOAD: Final = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(x-forwarded-client-cert)%"
_NOT_A_CLIENTS: Final = (OWN_HEADERS, "x-envoy-", "x-forwarded-")
"""Prefixes of headers that a proxy sets: with them a client could control retries, and providers would see them."""


def _forget_internal_headers(settings: EnvoySettings) -> Json:
    """A client's own `x-limpet-*` never counts, whether or not ext_proc answers; nor do the headers of proxies.

    All but one, which asks for an explanation: it goes on under another name. So does what tells of a workload, where
    that counts.
    """
    return {
        "name": "limpet.forget_internal_headers",
        "typed_config": typed(
            "http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[
                {"remove": DEBUG_KEPT},
                {"append": set_header(DEBUG_KEPT, f"%REQ({DEBUG_HEADER})%")},
                {"remove": WORKLOAD_KEPT},
                *([{"append": set_header(WORKLOAD_KEPT, _WORKLOAD)}] if settings.tenant_from_workload else []),
                *map(beginning_with, _NOT_A_CLIENTS),
            ],
        ),
    }


def _default_decision() -> Json:
    """The reason when ext_proc is away or has no catalog yet; a decision overwrites it."""
    return {
        "name": "limpet.default_decision",
        "typed_config": typed(
            "filters.http.set_metadata.v3.Config",
            metadata=[{"metadata_namespace": DECISION_METADATA, "value": {DECISION_REASON: UNDECIDED}}],
        ),
    }


def _ext_proc(settings: EnvoySettings) -> Json:
    """One message each way: the whole body, and the headers that matter as an attribute. Header mode needs all."""
    return {
        "name": EXT_PROC_FILTER,
        "typed_config": typed(
            "filters.http.ext_proc.v3.ExternalProcessor",
            grpc_service={
                "envoy_grpc": {"cluster_name": EXTPROC_CLUSTER},
                "initial_metadata": [] if settings.header_mode else [{"key": ONE_MESSAGE[0], "value": ONE_MESSAGE[1]}],
            },
            failure_mode_allow=True,
            message_timeout=f"{EXT_PROC_WAIT_S}s",
            processing_mode={
                "request_header_mode": "SEND" if settings.header_mode else "SKIP",
                "request_body_mode": "BUFFERED",
                "response_header_mode": "SKIP",
            },
            request_attributes=[] if settings.header_mode else [HEAD_ATTRIBUTE],
            metadata_options={
                "receiving_namespaces": {"untyped": [ROUTE_METADATA, DECISION_METADATA, RECORD_METADATA]}
            },
        ),
    }


UNDECIDED_PROGRAM: Final = ("table.lua", "asked.lua", "error_shape.lua", "json.lua", "body.lua", "undecided.lua")


def _undecided(settings: EnvoySettings) -> Json:
    """For requests that ext_proc has not decided; the routes of all others switch it off."""
    late = {"models": {"inline_string": program(*FRONT_PROGRAMS["models"])}}
    return {
        "name": UNDECIDED_FILTER,
        "typed_config": typed_struct(
            "filters.http.lua.v3.Lua",
            shared_vm_id="limpet-undecided",
            default_source_code={"inline_string": program(*UNDECIDED_PROGRAM)},
            **({"source_codes": late} if settings.keys_required else {}),
        ),
    }


def vendor_headers_filter() -> Json:
    """Removes what vendors send to their own clients, for all providers alike, and our word to the translator."""
    return {
        "name": VENDOR_HEADERS,
        "typed_config": typed(
            "filters.http.header_mutation.v3.HeaderMutation",
            mutations={"response_mutations": [*vendor_headers(), {"remove": TRANSLATE_HEADER}]},
        ),
    }


def access_log_to(workers: Json, name: str, metadata: Sequence[Json] = ()) -> Json:
    """An access log for `workers`, as Envoy's `EnvoyGrpc`, with this metadata of its calls."""
    return {
        "name": f"envoy.access_loggers.http_grpc.{name}",
        "typed_config": typed(
            "access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            additional_request_headers_to_log=[TRACE_HEADER],
            additional_response_headers_to_log=[DECISION_HEADER],
            common_config={
                "log_name": name,
                "transport_api_version": "V3",
                "filter_state_objects_to_log": [PATH_STATE],
                # A message costs as much as ten entries, but no request is answered while its entries are taken in:
                # with 0.1 s the slowest in a hundred waited half as long again.
                "buffer_flush_interval": "0.02s",
                # It is full only while no worker takes any, and what comes then is dropped. With as much again on the
                # connection there is room for 1,600 requests: a worker that stops for a second loses none.
                "buffer_size_bytes": 1024 * 1024,
                "grpc_service": {
                    "envoy_grpc": workers,
                    **({"initial_metadata": [*metadata]} if metadata else {}),
                },
            },
        ),
    }
