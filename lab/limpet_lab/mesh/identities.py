"""Certificates of a mesh and of a gateway, made on the spot."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from limpet_operator.publish.encode import Json, typed

_VALID: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str

    def inline(self) -> Json:
        """As Envoy's `TlsCertificate`."""
        return {
            "certificate_chain": {"inline_string": self.certificate},
            "private_key": {"inline_string": self.key},
        }


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Signs whatever it is asked to."""

    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    @classmethod
    def made(cls, name: str) -> Self:
        """A new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def of_host(self, *names: str) -> KeyPair:
        """A server's."""
        return self._signed([x509.DNSName(name) for name in names])

    def of_workload(self, *spiffe_ids: str) -> KeyPair:
        """A workload's, such as `spiffe://cluster.local/ns/default/sa/app`."""
        return self._signed([x509.UniformResourceIdentifier(each) for each in spiffe_ids])

    def _signed(self, names: Sequence[x509.GeneralName]) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([]), self._certificate.subject, key)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), True)
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        return KeyPair(certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def write_secret(named: tuple[str, Path], **secret: object) -> None:
    """Have an Envoy that watches the file find this secret in it, by that name."""
    name, path = named
    new = path.with_suffix(".new")
    resource = {**typed("transport_sockets.tls.v3.Secret"), "name": name, **secret}
    new.write_text(json.dumps({"resources": [resource]}))
    new.replace(path)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
    )
