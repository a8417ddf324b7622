"""Errors as OpenAI's APIs write them."""

import msgspec

from limpet_extproc.dialects.port import Refusal


def openai_error(refusal: Refusal) -> bytes:
    """The refusal in their shape."""
    error = {"message": refusal.message, "type": "invalid_request_error", "param": refusal.param, "code": refusal.code}
    return msgspec.json.encode({"error": error})
