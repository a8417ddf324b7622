"""What it means when a probe gets no answer from its provider, by the words of Envoy or the worker. Pure.

Envoy's are those that `publish.probe_listener` asks for: its flags, the address of the provider, the details and, if it
is about TLS or a connection, the reason. They hold underscores for spaces.
"""

import re
from typing import Final, NamedTuple

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.health_stream import HEAD_TOO_LARGE, NOT_SENT, TIMEOUT

_NOWHERE: Final = "127.0.0.1:0"
"""Where a cluster sends what it has no address for."""
_TLS_REASON: Final = re.compile(r"(?<=[:|])([^:|]+):TLS_error_end")
_IN_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_READ: Final = 4000
"""Characters of Envoy's words that are read; a provider may choose some of them."""
_UPSTREAM_FLAGS: Final[dict[str, Cause]] = {
    "UF": "ConnectionFailed",
    "UC": "ConnectionFailed",
    "UR": "ConnectionFailed",
    "UPE": "ConnectionFailed",
    "UH": "Unreachable",
    "UT": "Timeout",
    "UMSDR": "Timeout",
}
"""Envoy's flags of failures on the provider's side. With any other it was not asked."""


class NoAnswer(NamedTuple):
    """Why there was none; `cause` is None if the provider was not asked at all."""

    cause: Cause | None
    message: str


def no_answer(failure: str, host: str, timeout_s: float) -> NoAnswer:
    """`failure` is a ProbeAnswer's; `host` and `timeout_s` are the provider's and the probe's."""
    if failure == TIMEOUT:
        return NoAnswer("Timeout", f"no answer within {timeout_s:g} s")
    if failure.startswith(NOT_SENT):
        return NoAnswer(None, failure.removeprefix(NOT_SENT))
    if failure == HEAD_TOO_LARGE:
        return NoAnswer("NotAnAnswer", "the head of its answer is too large")
    failure = failure[:_READ]
    flags, _, rest = failure.partition(" ")
    address, _, details = rest.partition(" ")
    cause = next((_UPSTREAM_FLAGS[flag] for flag in flags.split(",") if flag in _UPSTREAM_FLAGS), None)
    if cause is None:
        missing = "cluster_not_found" in details
        return NoAnswer(None, "this gateway does not have the provider yet" if missing else _spaced(failure))
    if cause == "Timeout":
        return NoAnswer(cause, "no complete answer within timeouts.unstreamed of the Provider")
    if "TLS_error" in details:
        reason = _TLS_REASON.search(details)
        return NoAnswer("TLSFailed", _spaced(reason[1] if reason else details))
    if address == _NOWHERE:
        return NoAnswer("NameNotResolved", f"the name {host} has no address")
    if "connection_refused" in details.lower():
        return NoAnswer("ConnectionRefused", f"{address} refuses connections")
    found = _IN_BRACES.search(details)
    return NoAnswer(cause, _spaced(found[1] if found else details))


def _spaced(words: str) -> str:
    return words.replace("_", " ").strip()
