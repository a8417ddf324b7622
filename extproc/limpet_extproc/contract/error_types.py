"""The `type` of an error as Anthropic's API has it, which follows from its status."""

from collections.abc import Mapping
from typing import Final

ANTHROPIC: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status, from Anthropic's page on errors, 2026."""


def anthropic_type(status: int) -> str:
    """The type for any status of 400 or more."""
    return ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
