"""Which clients may hand records over: those whose certificate carries the gateways' name."""

import logging
from typing import Any, Final

import grpc

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 256
"""Certificates whose refusal has been logged."""


class Callers:
    """Of one server with TLS. An authority may have signed certificates for other programs, too."""

    def __init__(self, name: str) -> None:
        """`name`: the DNS name that is demanded."""
        self._name: Final = name
        self._refused: Final[dict[tuple[str, ...], None]] = {}

    async def check(self, context: Any) -> None:
        """End the call of any other with PERMISSION_DENIED."""
        found = context.auth_context().get("x509_subject_alternative_name", ())
        names = tuple(name.decode(errors="replace") for name in found)
        if self._name in names:
            return
        words = f"this is only for gateways, whose certificate carries the DNS name {self._name}"
        if names not in self._refused:
            if len(self._refused) >= _REMEMBERED:
                del self._refused[next(iter(self._refused))]
            self._refused[names] = None
            _log.warning("refused %s: %s; this one carries %s", context.peer(), words, ", ".join(names) or "none")
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, words)
