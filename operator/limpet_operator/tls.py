"""Who may connect to the control plane, which gives out vendors' keys: only who has a certificate of its authority."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

_FILES: Final = ("tls.key", "tls.crt", "ca.crt")
_NEARBY: Final = ("unix:", "unix-abstract:", "127.", "localhost:", "[::1]:")

_log = logging.getLogger(__name__)


class TlsUnusableError(Exception):
    """The certificates can't be used, or there are none where they are needed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM: our key, our certificate with its chain, and the authority that clients' certificates must be from."""

    key: bytes
    chain: bytes
    authority: bytes


def read_certificates(directory: Path) -> Certificates:
    """What a mounted Secret has. Raises TlsUnusableError."""
    try:
        key, chain, authority = ((directory / name).read_bytes() for name in _FILES)
    except OSError as error:
        raise TlsUnusableError(
            f"{directory} must hold {', '.join(_FILES)}: {error.strerror} ({error.filename})"
        ) from error
    for name, text in zip(_FILES, (key, chain, authority), strict=True):
        if b"-----BEGIN " not in text:
            raise TlsUnusableError(f"{directory / name} is not PEM")
    return Certificates(key, chain, authority)


def server_credentials(directory: Path) -> Any:
    """For a gRPC server: clients must show a certificate; changed files hold for every later connection.

    Raises TlsUnusableError if they can't be used now. Later on the last good ones go on serving.
    """
    return grpc.dynamic_ssl_server_credentials(
        _configuration(read_certificates(directory)), _newest(directory), require_client_authentication=True
    )


def require_tls(address: str, directory: Path | None) -> None:
    """Raises TlsUnusableError for an address that others can reach, if there is no directory of certificates."""
    if directory is None and not address.startswith(_NEARBY):
        raise TlsUnusableError(
            f"not listening on {address} without TLS, it gives out vendors' keys: name certificates with --tls-dir, "
            "or listen on 127.0.0.1 or a unix: socket"
        )


def _configuration(certificates: Certificates) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.chain)], root_certificates=certificates.authority
    )


def _newest(directory: Path) -> Callable[[], Any]:
    """What gRPC asks at each new connection, from its own threads; None: as before."""
    last = read_certificates(directory)

    def newest() -> Any:
        nonlocal last
        try:
            now = read_certificates(directory)
        except TlsUnusableError as error:
            _log.warning("the last good certificates go on serving: %s", error)
            return None
        if now == last:
            return None
        last = now
        _log.info("new certificates from %s", directory)
        return _configuration(now)

    return newest
