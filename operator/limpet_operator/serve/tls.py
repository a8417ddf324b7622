"""TLS of the control plane, which gives out vendors' keys, and the certificates that each of its services demands.

A stream needs a certificate from our authority; and since an authority may have signed certificates for other programs,
too, each service is only for clients whose certificate carries the right name.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import grpc

from limpet_extproc.contract.host_port import HostPort

AUTHORITY_FILE: Final = "ca.crt"
_FILES: Final = ("tls.key", "tls.crt", AUTHORITY_FILE)

_REMEMBERED: Final = 256
"""Certificates whose refusal has been logged."""

_log = logging.getLogger(__name__)


class TlsUnusableError(Exception):
    """Certificates are unusable, or missing where they are needed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM: our key, our certificate with its chain, and the authority that clients' certificates must be from."""

    key: bytes
    chain: bytes
    authority: bytes


def read_certificates(directory: Path) -> Certificates:
    """The files of a mounted Secret. Raises TlsUnusableError."""
    try:
        key, chain, authority = ((directory / name).read_bytes() for name in _FILES)
    except OSError as error:
        raise TlsUnusableError(
            f"{directory} must hold {', '.join(_FILES)}: {error.strerror} ({error.filename})"
        ) from error
    for name, text in zip(_FILES, (key, chain, authority), strict=True):
        if b"-----BEGIN " not in text:
            raise TlsUnusableError(f"{directory / name} is not PEM")
    try:
        # Two of the files may be of another generation than the third while they are being replaced.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / "tls.crt", directory / "tls.key")
    except (ssl.SSLError, OSError) as error:
        raise TlsUnusableError(f"{directory}/tls.key is not the key of {directory}/tls.crt: {error}") from error
    return Certificates(key, chain, authority)


def server_credentials(directory: Path, *, clients_have_certificates: bool = True) -> Any:
    """For a gRPC server: clients must show a certificate; changed files apply to every later connection.

    `clients_have_certificates`: False where they show by other means who they are. Raises TlsUnusableError if the files
    are unusable now. If they become so later, the last good ones stay in use.
    """
    return grpc.dynamic_ssl_server_credentials(
        _configuration(read_certificates(directory)),
        _newest(directory),
        require_client_authentication=clients_have_certificates,
    )


def only_for(inner: "grpc.GenericRpcHandler[Any, Any]", name: str, clients: str) -> "grpc.GenericRpcHandler[Any, Any]":
    """The same service, only for clients whose certificate carries this DNS name; `clients` describes them.

    Others get PERMISSION_DENIED with the name that is demanded, which is also logged. Every method of `inner` is a
    stream in both directions.
    """
    return _OnlyFor(inner, name, clients)


class _OnlyFor(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    def __init__(self, inner: "grpc.GenericRpcHandler[Any, Any]", name: str, clients: str) -> None:
        self._inner = inner
        self._name = name
        self._clients = clients
        self._refused: dict[tuple[str, ...], None] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = self._inner.service(handler_call_details)
        if method is None:
            return None
        serve: Any = method.stream_stream
        assert serve is not None, "the control plane has streams only"
        return grpc.stream_stream_rpc_method_handler(
            self._guarded(serve), method.request_deserializer, method.response_serializer
        )

    def _guarded(self, serve: Callable[..., Awaitable[None]]) -> Callable[[Any, Any], Awaitable[None]]:
        async def guarded(requests: Any, context: Any) -> None:
            names = certificate_names(context)
            if self._name not in names:
                words = f"this is only for {self._clients}, whose certificate carries the DNS name {self._name}"
                self._log_once(
                    names, f"refused {context.peer()}: {words}; this one carries {', '.join(names) or 'none'}"
                )
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, words)
            await serve(requests, context)

        return guarded

    def _log_once(self, names: tuple[str, ...], words: str) -> None:
        """Once for each certificate's names: a refused client tries again every second."""
        if names not in self._refused:
            if len(self._refused) >= _REMEMBERED:
                del self._refused[next(iter(self._refused))]
            self._refused[names] = None
            _log.warning("%s", words)


def certificate_names(context: Any) -> tuple[str, ...]:
    """The names in the certificate that the other side of a gRPC call showed; none without TLS."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return tuple(name.decode(errors="replace") for name in names)


def require_tls(address: str, directory: Path | None) -> None:
    """Raises TlsUnusableError for an address that others can reach, if there is no directory of certificates."""
    if directory is None and not _nearby(address):
        raise TlsUnusableError(
            f"not listening on {address} without TLS, it gives out vendors' keys: name certificates with --tls-dir, "
            "or listen on 127.0.0.1 or a unix: socket"
        )


def _nearby(address: str) -> bool:
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    place = HostPort.parse(address)
    if place is None:
        return False
    try:
        return ip_address(place.host).is_loopback
    except ValueError:
        return place.host == "localhost"


def _configuration(certificates: Certificates) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.chain)], root_certificates=certificates.authority
    )


def _newest(directory: Path) -> Callable[[], Any]:
    """GRPC calls the result for each new connection, from its own threads; None: as before."""
    last = read_certificates(directory)

    def newest() -> Any:
        nonlocal last
        try:
            now = read_certificates(directory)
        except TlsUnusableError as error:
            _log.warning("the last good certificates stay in use: %s", error)
            return None
        if now == last:
            return None
        last = now
        _log.info("new certificates from %s", directory)
        return _configuration(now)

    return newest
