"""An answer that is an error, in the words of the API that was asked."""

from collections.abc import Mapping
from typing import Final, Literal

ErrorShape = Literal["OpenAI", "Anthropic"]

_ANTHROPIC: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class RefusalError(Exception):
    """An answer that is an error: its HTTP status and the four fields of OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.kind = status, message, param, code, kind

    def body(self, shape: ErrorShape = "OpenAI") -> dict[str, object]:
        """The JSON the client gets."""
        if shape == "Anthropic":
            return anthropic_error(self.status, self.message)
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def anthropic_error(status: int, message: str) -> dict[str, object]:
    """An error as Anthropic writes it: its type follows from the status."""
    kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}
