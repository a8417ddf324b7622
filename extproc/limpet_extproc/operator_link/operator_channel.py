"""The way to the operator: a gRPC channel for each attempt, so that names and certificates are read again."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

import grpc
import grpc.aio

from limpet_extproc.contract.catalog import ContractMismatch
from limpet_extproc.contract.client_options import CLIENT_OPTIONS

TLS_FILES: Final = ("tls.crt", "tls.key", "ca.crt")
"""In a TLS directory: our certificate, its key, and the authority that issued the operator's."""

_CONNECT_S: Final = 5.0
"""For connection and TLS handshake; several addresses are tried side by side, so one that is silent costs less."""

_FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0

_OPTIONS: Final = (
    *CLIENT_OPTIONS,
    ("grpc.min_reconnect_backoff_ms", int(_CONNECT_S * 1000)),  # gRPC uses it as the time limit of an attempt, too.
)


def open_channel(target: str, tls_dir: Path | None) -> grpc.aio.Channel:
    """A channel for one attempt. With `tls_dir` both sides show certificates; the server's must name the target's host.

    Raises OSError if a file cannot be read; its text names the file.
    """
    if tls_dir is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    certificate, key, authority = (Path(tls_dir, name).read_bytes() for name in TLS_FILES)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority, key, certificate), options=_OPTIONS)


async def one_stream(target: str, tls_dir: Path | None, method: str, talk: Callable[[Any], Awaitable[None]]) -> str:
    """Open a stream of this method, `talk` on it until it ends, and return why it ended."""
    tls = tls_dir is not None
    try:
        # A new channel each time: certificates may have been renewed, and another replica may be running.
        async with open_channel(target, tls_dir) as channel:
            call: Any = cast("Any", channel).stream_stream(method)()  # Raw bytes; the stubs insist on coders.
            try:
                await talk(call)
            except asyncio.InvalidStateError:  # Written to after the operator had ended the stream.
                return _reason(await call.code(), await call.details(), tls=tls)
            finally:
                call.cancel()
    except ContractMismatch as error:
        return str(error)
    except grpc.aio.AioRpcError as error:
        return _reason(error.code(), error.details(), tls=tls)
    except OSError as error:
        return f"the certificate files cannot be read: {error}"
    return "the operator ended the stream"


def _reason(code: grpc.StatusCode, details: str | None, *, tls: bool) -> str:
    return explain(details, tls=tls) if details else code.name


class Pauses:
    """Seconds to wait between attempts: 0.2, then more each time, 2 at most."""

    def __init__(self) -> None:
        self._next_s = _FIRST_PAUSE_S

    def next_s(self) -> float:
        """The pause after another attempt has failed."""
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._next_s = _FIRST_PAUSE_S


_EXPLAINED: Final = (
    (
        "domain name not found|dns resolution failed|errors resolving",
        "its name cannot be resolved: is the host of --control-plane right, and is an operator ready?",
    ),
    ("hostname verification", "its certificate is for another name than the host of --control-plane"),
    ("certificate_verify_failed", "its certificate is not from the authority in ca.crt, or has expired"),
    ("wrong_version_number", "it does not speak TLS, and --tls-dir asks for it"),
    ("create security handshaker", "tls.crt, tls.key and ca.crt are not PEM files that belong together"),
    ("connection refused", "nothing listens there"),
    ("no such file", "the socket does not exist"),
)
"""Patterns in gRPC's messages and what they mean; the first match wins."""

_CLOSED_ON_CERTIFICATE: Final = (
    "it closed the connection without an explanation, as it does if it refuses our certificate: tls.crt must come from "
    "the authority that the operator trusts, and not expired"
)
_CLOSED_ON_NONE: Final = "it closed the connection without an explanation: does it ask for certificates (--tls-dir)?"


def explain(details: str, *, tls: bool) -> str:
    """Why an attempt failed, for a person: in our words if the case is known, with gRPC's own after them."""
    found = next((words for pattern, words in _EXPLAINED if re.search(pattern, details, re.IGNORECASE)), None)
    if found is None and "all addresses" in details and "Socket closed" in details:
        found = _CLOSED_ON_CERTIFICATE if tls else _CLOSED_ON_NONE
    return f"{found} ({details})" if found else details
