"""What Envoy itself answers: JSON in the shape of the API the client speaks, never HTML and never a bare word."""

import json
from typing import Final

from limpet_operator.publish.encode import Json, set_header, typed

SPOKEN: Final = "POST /v1/chat/completions and GET /v1/models"


def error_body(message: str, kind: str, code: str) -> str:
    """An error as OpenAI's API writes it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


NOT_FOUND: Final = error_body(
    f"Limpet does not serve this path; it serves {SPOKEN}.", "invalid_request_error", "unknown_url"
)
WRONG_METHOD: Final = error_body(
    f"Wrong method for this path; Limpet serves {SPOKEN}.", "invalid_request_error", "method_not_allowed"
)
NO_BODY: Final = error_body(
    "The request has no body; send a JSON object with 'model' and 'messages'.", "invalid_request_error", "empty_body"
)


def local_replies(body_limit_bytes: int) -> Json:
    """How Envoy words what it has to answer by itself; ext_proc's own answers are JSON already and pass as they are."""
    return {
        "mappers": [
            {
                "filter": _cel(
                    "response.code_details.startsWith('limpet_') || "
                    "response.code_details in ['direct_response', 'lua_response']"
                ),
                "body_format_override": {
                    "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
                    "content_type": "application/json",
                },
            },
            {
                "filter": _cel("response.code == 413"),
                "body_format_override": _error(
                    f"The request body is larger than {body_limit_bytes} bytes, the most this gateway takes.",
                    "invalid_request_error",
                    "request_too_large",
                ),
                "headers_to_add": _refused("refused.too_large"),
            },
            {
                "filter": _cel("response.code == 408"),
                "body_format_override": _error(
                    "The request did not arrive in time.", "invalid_request_error", "request_timeout"
                ),
                "headers_to_add": _refused("refused.too_slow"),
            },
            {
                "filter": _cel("response.code >= 500"),
                "body_format_override": _error(
                    "No provider answered. The last one tried, %UPSTREAM_CLUSTER%, failed: %LOCAL_REPLY_BODY%. "
                    "%DYNAMIC_METADATA(limpet.decision:why)%",
                    "server_error",
                    "no_provider_available",
                ),
            },
        ],
        "body_format": _error("%LOCAL_REPLY_BODY%", "invalid_request_error", "bad_request"),
    }


def _cel(expression: str) -> Json:
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": typed("access_loggers.filters.cel.v3.ExpressionFilter", expression=expression),
        }
    }


def _refused(reason: str) -> list[Json]:
    return [set_header("x-limpet-decision", reason)]


def _error(message: str, kind: str, code: str) -> Json:
    return {
        "content_type": "application/json",
        "json_format": {"error": {"message": message, "type": kind, "param": None, "code": code}},
    }
