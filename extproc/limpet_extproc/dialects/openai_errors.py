"""Errors as OpenAI's APIs write them."""

import msgspec

from limpet_extproc.dialects.port import Refusal


def openai_error(refusal: Refusal) -> bytes:
    """The refusal in their shape."""
    kind = "rate_limit_error" if refusal.status == 429 else "invalid_request_error"
    error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
    return msgspec.json.encode({"error": error})
