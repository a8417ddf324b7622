"""Anthropic's errors as OpenAI's SDK expects them. The message stays as it is: clients match on its words."""

from typing import Any, Final, Literal

import msgspec


class _Error(msgspec.Struct, frozen=True, gc=False):
    message: str
    type: str = "api_error"


class _ErrorBody(msgspec.Struct, frozen=True, gc=False):
    type: Literal["error"]
    error: _Error


_BODY: Final = msgspec.json.Decoder(_ErrorBody)

_TYPES: Final = {
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "invalid_request_error",
    "billing_error": "insufficient_quota",
    "permission_error": "invalid_request_error",
    "not_found_error": "invalid_request_error",
    "request_too_large": "invalid_request_error",
    "rate_limit_error": "rate_limit_error",
    "timeout_error": "server_error",
    "api_error": "server_error",
    "overloaded_error": "server_error",
}
"""OpenAI's type for each of Anthropic's, which becomes the code."""


def chat_error(body: bytes) -> bytes:
    """The body of an error; as it is if it is none of Anthropic's."""
    try:
        error = _BODY.decode(body).error
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return body
    return msgspec.json.encode(error_object(error.message, error.type))


def error_object(message: str, type_: str) -> dict[str, Any]:
    """OpenAI's error, for one of Anthropic's types."""
    return {"error": {"message": message, "type": _TYPES.get(type_, "server_error"), "param": None, "code": type_}}
