"""The filters for providers that speak only Anthropic's Messages, and the cluster of the translators.

Two calls of ext_proc, because they fail differently (decision 0059). One in the provider's cluster, for each attempt's
request: if nobody answers it, the request goes on untranslated to a path that no provider has, and the Lua of the
attempt makes that an answer that is retried elsewhere; a failure of the filter itself would be final. One in the
listener, for the answer that the client gets: if nobody answers that, the stream is cut. There, because an ext_proc
among the filters of a cluster crashes Envoy 1.40 when it holds back an answer that comes too fast.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, Final

from limpet_extproc.contract.envoy import (
    BODY_LIMIT,
    DECISION_METADATA,
    NO_USER_ID,
    TRANSLATE_HEADER,
    TRANSLATED,
    TRANSLATING_FILTER,
    TRANSLATION_METADATA,
    UNTRANSLATED_PATH,
    translator_socket,
)
from limpet_operator.publish.encode import Json, typed, typed_struct
from limpet_operator.publish.envoy_settings import NEVER_FULL, TRANSLATOR_CLUSTER
from limpet_operator.publish.extproc_cluster import OUTLIER_DETECTION
from limpet_operator.resources.provider import Provider

_WAIT_S: Final = 15
"""For one message. The largest body takes two seconds."""

_TYPES: Final = "type.googleapis.com/"
_REQUEST_ONLY: Final = {
    "request_header_mode": "SEND",
    "request_body_mode": "BUFFERED",
    "response_header_mode": "SKIP",
}
_ANSWER_ONLY: Final = {
    "request_header_mode": "SKIP",
    "response_header_mode": "SEND",
    "response_body_mode": "STREAMED",
}
_IS_UNTRANSLATED: Final = {
    "input": {
        "name": "path",
        "typed_config": {"@type": f"{_TYPES}envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":path"},
    },
    "value_match": {"prefix": UNTRANSLATED_PATH},
}
_IS_TO_BE_TRANSLATED: Final = {
    "input": {
        "name": "header",
        "typed_config": {
            "@type": f"{_TYPES}envoy.type.matcher.v3.HttpResponseHeaderMatchInput",
            "header_name": TRANSLATE_HEADER,
        },
    },
    "value_match": {"exact": TRANSLATED},
}


def request_translation(provider: Provider, body_limit_bytes: int) -> list[Json]:
    """What stands before the codec of a provider's cluster; nothing where nothing is translated.

    Envoy's refusal of a body that has grown beyond the limit would be final, so the translator has to know it.
    """
    if not provider.translated:
        return []
    told = [(BODY_LIMIT, str(body_limit_bytes)), *([] if provider.user_id else [NO_USER_ID])]
    request = _ext_proc(
        initial_metadata=[{"key": key, "value": value} for key, value in told],
        failure_mode_allow=True,
        processing_mode=_REQUEST_ONLY,
        metadata_options={"receiving_namespaces": {"untyped": [TRANSLATION_METADATA]}},
    )
    return [_where("request", _IS_UNTRANSLATED, request)]


def answer_translation() -> Json:
    """What stands before the router of every gateway.

    A listener that changed when the first such provider comes would leave the clients of open connections without it,
    whose requests are routed there already.
    """
    answer = _ext_proc(
        failure_mode_allow=False,
        status_on_error={"code": 503},
        processing_mode=_ANSWER_ONLY,
        allow_mode_override=True,
        metadata_options={"forwarding_namespaces": {"untyped": [TRANSLATION_METADATA, DECISION_METADATA]}},
    )
    return _where("answer", _IS_TO_BE_TRANSLATED, answer)


def translator_cluster(extproc_sockets: Iterable[str]) -> Json:
    """The translators beside the workers with these sockets.

    No health checks: a translator that is not needed is not started.
    """
    paths = [str(PurePath(path).with_name(translator_socket(n))) for n, path in enumerate(extproc_sockets)]
    endpoints = [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in paths]
    return {
        "name": TRANSLATOR_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": TRANSLATOR_CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": NEVER_FULL, "max_pending_requests": NEVER_FULL, "max_requests": NEVER_FULL}
            ]
        },
        "outlier_detection": OUTLIER_DETECTION,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
            )
        },
    }


def _ext_proc(*, initial_metadata: Sequence[Json] = (), **how: Any) -> Json:
    return typed(
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={
            "envoy_grpc": {"cluster_name": TRANSLATOR_CLUSTER},
            "initial_metadata": [*initial_metadata],
        },
        message_timeout=f"{_WAIT_S}s",
        **how,
    )


def _where(of: str, predicate: Json, config: Json) -> Json:
    """A filter that is left out where the predicate does not hold."""
    name = f"{TRANSLATING_FILTER}.{of}"
    skip = {"name": "skip", "typed_config": typed("filters.common.matcher.action.v3.SkipFilter")}
    unless = {"predicate": {"not_matcher": {"single_predicate": predicate}}, "on_match": {"action": skip}}
    return {
        "name": name,
        "typed_config": typed_struct(
            "common.matching.v3.ExtensionWithMatcher",
            extension_config={"name": name, "typed_config": config},
            xds_matcher={"matcher_list": {"matchers": [unless]}},
        ),
    }
