"""The certificates of a server: read from a folder, and again for new connections once they have been renewed."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc

_FILES: Final = ("tls.key", "tls.crt", "ca.crt")

_log = logging.getLogger(__name__)


class TlsFilesError(Exception):
    """Certificates cannot be used; the text says what is wrong with which file."""


class _Pems(NamedTuple):
    key: bytes
    chain: bytes
    authority: bytes


def server_credentials(folder: Path) -> Any:
    """For a server whose clients show certificates of the authority in `ca.crt`. Raises TlsFilesError.

    If files become unusable later, the last good ones stay in use.
    """
    last = _read(folder)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(last), _renewed(folder, last), require_client_authentication=True
    )


def _read(folder: Path) -> _Pems:
    try:
        pems = _Pems(*((folder / name).read_bytes() for name in _FILES))
    except OSError as error:
        raise TlsFilesError(f"{folder} must hold {', '.join(_FILES)}: {error.strerror} ({error.filename})") from error
    try:
        # While a Secret is being replaced, two files may be of another generation than the third.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        context.load_verify_locations(folder / "ca.crt")
    except (ssl.SSLError, OSError) as error:
        raise TlsFilesError(f"{folder}: {', '.join(_FILES)} are not PEM files that belong together: {error}") from error
    return pems


def _configuration(pems: _Pems) -> Any:
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.chain)], root_certificates=pems.authority)


def _renewed(folder: Path, last: _Pems) -> Callable[[], Any]:
    """GRPC calls the result for each new connection, from its own threads; None: as before."""

    def renewed() -> Any:
        nonlocal last
        try:
            now = _read(folder)
        except TlsFilesError as error:
            _log.warning("the last good certificates stay in use: %s", error)
            return None
        if now == last:
            return None
        last = now
        _log.info("new certificates from %s", folder)
        return _configuration(now)

    return renewed
