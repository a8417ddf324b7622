"""When the certificates of a process end, for its metrics.

Reads no more of X.509 (RFC 5280, section 4.1) than the validity: a library for all of it would weigh more than
everything else that a worker loads.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

_FILES: Final = ("tls.crt", "ca.crt")
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME, _GENERALIZED_TIME, _LONG_LENGTH = 0xA0, 0x17, 0x18, 0x80
_FORMATS: Final = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}


def show_certificate_expiry(
    registry: CollectorRegistry, directory: Path, further: Mapping[str, Callable[[], float]] = MappingProxyType({})
) -> None:
    """Add a gauge that reads the files of a TLS directory at each look; NaN while one cannot be read.

    `further` certificates are not in files there: names beside those of files, and when each expires in Unix seconds.
    """
    gauge = Gauge(
        "limpet_certificate_expiry_timestamp_seconds",
        "Unix time at which the first certificate of a file in the TLS directory expires.",
        ["file"],
        registry=registry,
    )
    for name in _FILES:
        gauge.labels(name).set_function(partial(_expiry_of_file, directory / name))
    for name, expires_s in further.items():
        gauge.labels(name).set_function(expires_s)


def expires_at_s(pem: str) -> float | None:
    """The Unix time at which the first of these certificates expires; None: there is none that can be read."""
    found = []
    for each in _PEM.findall(pem):
        with suppress(ValueError, LookupError):
            found.append(_not_after_s(ssl.PEM_cert_to_DER_cert(each)))
    return min(found, default=None)


def _expiry_of_file(path: Path) -> float:
    try:
        found = expires_at_s(path.read_text(errors="replace"))
    except OSError:
        return nan
    return nan if found is None else found


def _not_after_s(der: bytes) -> float:
    """Of Certificate: TBSCertificate, whose fields are version (optional), serial, algorithm, issuer, validity."""
    (_, certificate), *_ = _elements(der)
    (_, signed), *_ = _elements(certificate)
    fields = [element for element in _elements(signed) if element[0] != _VERSION]
    _, (tag, text) = _elements(fields[3][1])
    return datetime.strptime(text.decode("ascii"), _FORMATS[tag]).replace(tzinfo=UTC).timestamp()


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of a sequence in DER."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & _LONG_LENGTH:
            size = length - _LONG_LENGTH
            length, at = int.from_bytes(der[at : at + size]), at + size
        yield tag, der[at : at + length]
        at += length
