"""Envoy's local replies: JSON in the shape of the API that the client speaks, never HTML, never a bare or empty word.

Each refusal states what is wrong and what would be right, with its reason in `x-limpet-decision`.
"""

from dataclasses import dataclass
from typing import Final

from limpet_extproc.contract.envoy import DECISION_HEADER, DETAILS_PREFIX
from limpet_extproc.contract.reasons import EnvoyRefusal
from limpet_operator.publish.encode import Json, set_header
from limpet_operator.publish.error_shape import cel, error_body, error_format
from limpet_operator.publish.no_answer import no_answer

SPOKEN: Final = "POST /v1/chat/completions, GET /v1/models and GET /v1/models/{id}"

INVALID: Final = "invalid_request_error"

WRONG_METHOD: Final = error_body(f"Wrong method for this path; Limpet serves {SPOKEN}.", INVALID, "method_not_allowed")
NO_BODY: Final = error_body(
    "The request has no body; send a JSON object with 'model' and 'messages'.", INVALID, "empty_body"
)
ENCODED_BODY: Final = error_body(
    "Limpet has to read the prompt; send the body uncompressed.",
    INVALID,
    "unsupported_content_encoding",
)
NO_PROVIDERS: Final = error_body(
    "No provider is configured, or the configuration of each has errors; ask whoever runs this gateway.",
    "server_error",
    "no_provider_available",
)


def local_replies(body_limit_bytes: int) -> Json:
    """All local replies; those that are JSON already pass as they are."""
    refusals = (_too_large(body_limit_bytes), *_REFUSALS)
    mappers = [_passed_on(), *_health(), *map(_mapper, refusals), *no_answer()]
    return {
        "mappers": mappers,
        "body_format": error_format("%LOCAL_REPLY_BODY% (%RESPONSE_CODE_DETAILS%)", INVALID, "bad_request"),
    }


def _passed_on() -> Json:
    """From ext_proc, routes and our Lua."""
    return {
        "filter": cel(
            f"response.code_details.startsWith('{DETAILS_PREFIX}') || response.code_details == 'direct_response' || "
            "response.code_details == 'lua_response'"
        ),
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    }


def _health() -> list[Json]:
    """For load balancers, which look at the status, and for people."""
    return [
        {
            "filter": cel(f"response.code_details == 'health_check_{detail}'"),
            "body_format_override": {
                "text_format_source": {"inline_string": f"{words}\n"},
                "content_type": "text/plain",
            },
            "headers_to_add": [set_header(DECISION_HEADER, "answered.health")],
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
    status: int | None = None
    """None: Envoy's own."""


_REFUSALS: Final = (
    _Refusal("response.code == 408", "The request did not arrive in time.", "request_timeout", "refused.too_slow"),
    _Refusal(
        "response.code == 431",
        "The request's headers are larger than 60 KiB in all, or more than 100: send fewer or smaller ones "
        "(cookies are the usual cause).",
        "headers_too_large",
        "refused.headers_too_large",
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
        "response.code_details == 'upgrade_failed'",
        "The request asks for an upgrade of its connection (%REQ(UPGRADE)%), and this gateway serves plain HTTP "
        "requests alone: leave out the headers Connection: upgrade and Upgrade.",
        "upgrade_not_supported",
        "refused.malformed",
        status=400,
    ),
    _Refusal(
        "response.code_details == 'http1.invalid_transfer_encoding'",
        "The request has a Transfer-Encoding other than 'chunked', the only one that is known here.",
        "unsupported_transfer_encoding",
        "refused.malformed",
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
        status=400,
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
    ),
    _Refusal(
        "response.code_details.startsWith('http1.') || response.code_details.startsWith('http2.') || "
        "response.code_details.startsWith('http.')",
        "This is not an HTTP request as RFC 9110 has it (%RESPONSE_CODE_DETAILS%). The usual causes are TLS spoken "
        "to this plain port, a method in lower case, a Content-Length that is not a number, and a broken chunk.",
        "bad_request",
        "refused.malformed",
    ),
    _Refusal(
        "response.code_details.startsWith('overload')",
        "This gateway has no memory left for another request at the moment; try again.",
        "overloaded",
        "refused.overloaded",
        kind="server_error",
    ),
)


def _too_large(body_limit_bytes: int) -> _Refusal:
    return _Refusal(
        "response.code == 413",
        f"The request body is larger than {body_limit_bytes} bytes, the most this gateway takes.",
        "request_too_large",
        "refused.too_large",
    )


def _mapper(refusal: _Refusal) -> Json:
    return {
        "filter": cel(refusal.when),
        "body_format_override": error_format(refusal.message, refusal.kind, refusal.code),
        "headers_to_add": [set_header(DECISION_HEADER, refusal.reason)],
        **({"status_code": refusal.status} if refusal.status else {}),
    }
