"""The listener through which a worker sends probes: to a provider's own cluster, as every request goes.

It is a Unix socket beside those of the workers, so nobody but the gateway's own user and group reaches it. It has
neither ext_proc nor an access log, and no answer is tried again: a probe teaches nobody anything on its way.
"""

from typing import Final

from limpet_extproc.contract.envoy import CLUSTER_HEADER, NO_ANSWER_HEADER, PROBE_STATE
from limpet_operator.publish.attempt_filters import attempt_program
from limpet_operator.publish.encode import Json, set_header, typed
from limpet_operator.publish.envoy_settings import PROBE_LISTENER

_MODE: Final = 0o660
"""The worker may run as another user of the same group, as in a pod with fsGroup."""

_ENVOYS_WORDS: Final = "%RESPONSE_FLAGS% %UPSTREAM_HOST% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%"
"""What became of a request that the provider did not answer, as `probe.no_answer` reads it."""


def probe_listener(socket: str) -> Json:
    """Takes a request with the provider's name in `x-limpet-cluster` at the path of this socket."""
    return {
        "name": PROBE_LISTENER,
        "address": {"pipe": {"path": socket, "mode": _MODE}},
        # However many clients there are: a busy gateway must not be taken for broken providers.
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [_http()]}],
    }


def _http() -> Json:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=PROBE_LISTENER,
            # An answer to HTTP/1.0 ends with its connection: nothing to parse but a head.
            http_protocol_options={"accept_http_10": True, "default_host_for_http_10": "localhost"},
            generate_request_id=False,
            # The worker hangs up when the probe's time is over.
            stream_idle_timeout="0s",
            request_headers_timeout="5s",
            route_config={
                "virtual_hosts": [{"name": "providers", "domains": ["*"], "routes": [_ROUTE]}],
                "typed_per_filter_config": attempt_program(),
            },
            http_filters=[
                {
                    "name": "limpet.note_probe",
                    "typed_config": typed(
                        "filters.http.set_filter_state.v3.Config",
                        on_request_headers=[
                            {
                                "object_key": PROBE_STATE,
                                "factory_key": "envoy.string",
                                "format_string": {"text_format_source": {"inline_string": "%REQ(:PATH)%"}},
                                "shared_with_upstream": "TRANSITIVE",
                            }
                        ],
                    ),
                },
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": typed("filters.http.router.v3.Router", suppress_envoy_headers=True),
                },
            ],
            local_reply_config={
                "mappers": [
                    {
                        "filter": {"not_health_check_filter": {}},  # All of them.
                        "headers_to_add": [set_header(NO_ANSWER_HEADER, "true")],
                    }
                ],
                "body_format": {"text_format_source": {"inline_string": _ENVOYS_WORDS}},
            },
        ),
    }


_ROUTE: Final[Json] = {
    "match": {"prefix": "/"},
    "route": {"cluster_header": CLUSTER_HEADER, "timeout": "0s"},
}
