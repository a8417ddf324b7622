"""Anthropic's errors as OpenAI's SDK expects them. The message stays as it is: clients match on its words."""

from typing import Any, Final

import msgspec

from limpet_extproc.translation.lenient import LenientDecoder, UnreadableAnswerError, encoded

NO_REASON: Final = "The provider gave no reason."


class MessagesError(msgspec.Struct, frozen=True, gc=False):
    """What went wrong."""

    message: str = ""
    type: str = ""


class _ErrorBody(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    error: MessagesError | str = ""


_BODY: Final = LenientDecoder(_ErrorBody)
_SHOWN: Final = 200
"""Characters of what is no error that anybody knows."""

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
    """The body of an error, whatever it was; as it is if it is in OpenAI's shape already."""
    try:
        found = _BODY.decode(body)
    except UnreadableAnswerError:
        found = _ErrorBody()
    error = found.error
    if isinstance(error, str):
        shown = error or body[: 4 * _SHOWN].decode("utf-8", "replace").strip()[:_SHOWN]
        error = MessagesError(f"The provider answered with an error: {shown}" if shown else NO_REASON)
    elif found.type != "error" and error.message:
        return body
    return encoded(error_object(error.message or NO_REASON, error.type or "api_error"))


def error_object(message: str, type_: str) -> dict[str, Any]:
    """OpenAI's error, for one of Anthropic's types."""
    return {"error": {"message": message, "type": _TYPES.get(type_, "server_error"), "param": None, "code": type_}}
