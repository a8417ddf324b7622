"""Who may connect to the control plane, which gives out vendors' keys: only who has a certificate of its authority."""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import grpc

_FILES: Final = ("tls.key", "tls.crt", "ca.crt")

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
    try:
        # Two of the files may be of another generation than the third while they are being replaced.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / "tls.crt", directory / "tls.key")
    except (ssl.SSLError, OSError) as error:
        raise TlsUnusableError(f"{directory}/tls.key is not the key of {directory}/tls.crt: {error}") from error
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
    if directory is None and not _nearby(address):
        raise TlsUnusableError(
            f"not listening on {address} without TLS, it gives out vendors' keys: name certificates with --tls-dir, "
            "or listen on 127.0.0.1 or a unix: socket"
        )


def _nearby(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith(("unix:", "unix-abstract:")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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
