"""Reads a certificate by showing it to a client that trusts it: what that client takes, others can take."""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from limpet_operator.resources.secret import SecretText
from limpet_operator.resources.serving_certificate import CertificateError, ServingCertificate

_TURNS: Final = 6
"""Of both sides in a handshake; TLS 1.3 needs three."""
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_NO_PASSWORD: Final = b"-"
"""Without any, OpenSSL would ask at a terminal."""


def read_serving_certificate(chain: bytes, key: bytes) -> ServingCertificate:
    """The chain, leaf first, and its key, both in PEM. Raises CertificateError."""
    certificates = _CERTIFICATE.findall(chain)
    if not certificates:
        raise CertificateError("tls.crt holds no certificate in PEM")
    if b"PRIVATE KEY-----" not in key:
        raise CertificateError("tls.key holds no private key in PEM")
    # Nothing else that is there, such as a comment or a key, is shown to anybody.
    leaf, text = certificates[0].decode(), "".join(f"{each.decode()}\n" for each in certificates)
    shown = _shown(_server(text.encode(), key), _client(leaf))
    names = tuple(name for kind, name in shown.get("subjectAltName", ()) if kind == "DNS")
    if not names:
        raise CertificateError(
            "its certificate has no DNS names (subjectAltName), so clients take it for no host; issue one that has"
        )
    not_after = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    return ServingCertificate(text, SecretText(key.decode("ascii", errors="replace")), names, not_after)


def _server(chain: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with _as_file(chain) as chain_file, _as_file(key) as key_file:
            context.load_cert_chain(chain_file, key_file, password=_NO_PASSWORD)
    except ssl.SSLError as error:
        if b"ENCRYPTED" in key:
            raise CertificateError("tls.key is encrypted; put it in without a password") from error
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(
                "tls.key is not the key of the first certificate in tls.crt; put in a pair, and the chain leaf first"
            ) from error
        raise CertificateError(f"tls.crt and tls.key can't be read: {_words(error)}") from error
    return context


def _client(leaf: str) -> ssl.SSLContext:
    """One that trusts this certificate as it is, whoever has issued it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=leaf)
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"tls.crt can't be read: {error}") from error
    return context


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """What the client is shown in a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_TURNS):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                raise CertificateError(f"clients do not take its certificate: {error.verify_message}") from error
            except ssl.SSLError as error:
                raise CertificateError(f"no TLS is possible with it: {_words(error)}") from error
    try:
        return dict(sides[0].getpeercert() or {})
    except ValueError as error:
        raise CertificateError(f"tls.crt can't be read: {error}") from error


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A file that is nowhere but in memory: OpenSSL reads a key from no other place by way of Python."""
    number = os.memfd_create("limpet-certificate")
    try:
        os.write(number, content)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
