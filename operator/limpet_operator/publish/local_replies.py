"""Envoy's local replies: JSON in the shape of the API that the client speaks, never HTML, never a bare or empty word.

Each refusal states what is wrong and what would be right, with its reason in `x-limpet-decision`.
"""

from dataclasses import dataclass
from typing import Final

from limpet_extproc.contract.envoy import DECISION_HEADER, DETAILS_PREFIX, UNREADABLE_ANSWER
from limpet_extproc.contract.reasons import EnvoyRefusal
from limpet_operator.publish.encode import Json, set_header
from limpet_operator.publish.error_shape import (
    ASKED_ANTHROPIC,
    INVALID,
    anthropic_error,
    cel,
    either_mapper,
    formatted,
    mappers,
    openai_error,
)
from limpet_operator.publish.no_answer import no_answer
from limpet_operator.publish.origins import answer_headers

SPOKEN: Final = (
    "POST /v1/chat/completions, /v1/responses and /v1/messages, GET /v1/models and GET /v1/models/{id}, and what else "
    "its Providers list in spec.endpoints"
)

NO_BODY: Final = "The request has no body; send a JSON object with 'model' and what else its API asks for."
ENCODED_BODY: Final = "Limpet has to read the prompt; send the body uncompressed."
NO_PROVIDERS: Final = (
    "No provider is configured, or the configuration of each has errors; ask whoever runs this gateway."
)


def local_replies(body_limit_bytes: int, *, readable: bool = False) -> Json:
    """All local replies; those that are JSON already pass as they are. `readable`: web pages may use the gateway."""
    refusals = (_too_large(body_limit_bytes), *_REFUSALS)
    other = "%LOCAL_REPLY_BODY% (%RESPONSE_CODE_DETAILS%)"
    return {
        "mappers": [
            _passed_on(),
            *_health(readable),
            *(each for refusal in refusals for each in _mappers(refusal)),
            *no_answer(),
            {"filter": ASKED_ANTHROPIC, "body_format_override": formatted(anthropic_error(other, 400))},
        ],
        "body_format": formatted(openai_error(other, INVALID, "bad_request")),
    }


def _passed_on() -> Json:
    """From ext_proc, the translator, routes and our Lua."""
    return {
        "filter": cel(
            f"response.code_details.startsWith('{DETAILS_PREFIX}') || response.code_details == 'direct_response' || "
            f"response.code_details == 'lua_response' || response.code_details == '{UNREADABLE_ANSWER}'"
        ),
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    }


def _health(readable: bool) -> list[Json]:
    """For load balancers, which look at the status, and for people."""
    headers = {DECISION_HEADER: "answered.health", **(answer_headers() if readable else {})}
    return [
        {
            "filter": cel(f"response.code_details == 'health_check_{detail}'"),
            "body_format_override": {
                "text_format_source": {"inline_string": f"{words}\n"},
                "content_type": "text/plain",
            },
            "headers_to_add": [set_header(*each) for each in headers.items()],
        }
        for detail, words in (("ok", "ok"), ("failed", "draining"))
    ]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A request that Envoy refuses before it has a route, recognised by Envoy's status or details."""

    when: str
    """In CEL."""
    message: str
    code: str
    reason: EnvoyRefusal
    kind: str = INVALID
    status: int = 400
    unread: bool = False
    """Whether it may be that Envoy has not read whose API is asked for."""


_REFUSALS: Final = (
    _Refusal(
        "response.code == 408", "The request did not arrive in time.", "request_timeout", "refused.too_slow", status=408
    ),
    _Refusal(
        "response.code == 431",
        "The request's headers are larger than 60 KiB in all, or more than 100: send fewer or smaller ones "
        "(cookies are the usual cause).",
        "headers_too_large",
        "refused.headers_too_large",
        status=431,
        unread=True,
    ),
    _Refusal(
        "response.code_details == 'missing_host_header'",
        "The request has no Host header; HTTP/1.1 requires one.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details == 'upgrade_failed' && request.method == 'CONNECT'",
        "This is a gateway, not a forward proxy, so it answers no CONNECT: take it out of HTTP_PROXY and "
        "HTTPS_PROXY and make it the base_url.",
        "method_not_allowed",
        "refused.method",
        status=405,
    ),
    _Refusal(
        "response.code_details == 'upgrade_failed' && 'upgrade' in request.headers && "
        "request.headers['upgrade'] in ['websocket', 'WebSocket', 'Websocket']",
        "The request asks for a WebSocket, and this gateway passes plain HTTP requests and their streams on: use the "
        "API without it, or ask the provider directly.",
        "websocket_not_supported",
        "refused.websocket",
    ),
    _Refusal(
        "response.code_details == 'upgrade_failed'",
        "The request asks for an upgrade of its connection (%REQ(UPGRADE)%), and this gateway serves plain HTTP "
        "requests alone: leave out the headers Connection: upgrade and Upgrade.",
        "upgrade_not_supported",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details == 'http1.invalid_transfer_encoding'",
        "The request has a Transfer-Encoding other than 'chunked', the only one that is known here.",
        "unsupported_transfer_encoding",
        "refused.malformed",
        status=501,
    ),
    _Refusal(
        "response.code_details == 'path_normalization_failed'",
        "The request's path %PATH(WQ):200% is not valid: write it without a fragment (#…) and without control "
        "characters, percent-encoded or not.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details == 'absolute_path_rejected'",
        f"The request's path does not begin with a slash; Limpet serves {SPOKEN}.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details == 'http.invalid_authority'",
        "The request's Host header is not a host, with a port or without.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details == 'http.invalid_scheme' || response.code_details == 'http1.invalid_scheme'",
        "The request's target has a scheme other than http and https.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details == 'http1.content_length_and_chunked_not_allowed'",
        "The request has both Content-Length and Transfer-Encoding; send one of them.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details.endsWith('invalid_characters')",
        "A header of the request has a control character, or an invalid name.",
        "bad_request",
        "refused.malformed",
        unread=True,
    ),
    _Refusal(
        "response.code_details.startsWith('http1.') || response.code_details.startsWith('http2.') || "
        "response.code_details.startsWith('http.')",
        "This is not an HTTP request as RFC 9110 has it (%RESPONSE_CODE_DETAILS%). The usual causes are TLS spoken "
        "to this plain port, a method in lower case, a Content-Length that is not a number, and a broken chunk.",
        "bad_request",
        "refused.malformed",
        unread=True,
    ),
    _Refusal(
        "response.code_details.startsWith('overload')",
        "This gateway has no memory left for another request at the moment; try again.",
        "overloaded",
        "refused.overloaded",
        kind="server_error",
        status=503,
    ),
)


def _too_large(body_limit_bytes: int) -> _Refusal:
    return _Refusal(
        "response.code == 413",
        f"The request body is larger than {body_limit_bytes} bytes, the most this gateway takes.",
        "request_too_large",
        "refused.too_large",
        status=413,
    )


def _mappers(refusal: _Refusal) -> list[Json]:
    headers = [set_header(DECISION_HEADER, refusal.reason)]
    told = (refusal.message, refusal.kind, refusal.code)
    if refusal.unread:
        return [either_mapper(cel(refusal.when), *told, refusal.status, headers_to_add=headers)]
    return mappers(cel(refusal.when), ASKED_ANTHROPIC, *told, refusal.status, headers_to_add=headers)
