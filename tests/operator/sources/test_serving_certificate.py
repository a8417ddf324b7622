"""What is read of a certificate for clients, and what a person is told of one that they would refuse."""

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.resources.serving_certificate import CertificateError, certified
from limpet_operator.sources.serving_certificate import read_serving_certificate

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def issued(
    *names: str, begins: datetime = NOW - DAY, ends: datetime = NOW + DAY, for_clients: bool = False, password: str = ""
) -> tuple[bytes, bytes]:
    """A chain of one and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, begins, ends)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    if for_clients:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    pem = serialization.Encoding.PEM
    how = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, how)
    return builder.sign(key, hashes.SHA256()).public_bytes(pem), written


def test_names_and_end_are_read_and_the_whole_chain_is_kept() -> None:
    authority = trustme.CA()
    middle = authority.create_child_ca()
    leaf = middle.issue_cert("api.openai.com", "*.internal.example")
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    found = read_serving_certificate(chain, leaf.private_key_pem.bytes())
    assert found.names == ("api.openai.com", "*.internal.example")
    assert found.chain_pem.encode() == chain
    assert found.key_pem.reveal().encode() == leaf.private_key_pem.bytes()
    assert "PRIVATE KEY" not in repr(found)
    chain, key = issued("a.example", ends=datetime(2090, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert read_serving_certificate(chain, key).not_after == datetime(2090, 1, 2, 3, 4, 5, tzinfo=UTC)


GOOD, OTHER = issued("a.example"), issued("a.example")


def unreadable() -> bytes:
    """A certificate whose name is no text."""
    der = ssl.PEM_cert_to_DER_cert(GOOD[0].decode())
    assert b"a.example" in der
    return ssl.DER_cert_to_PEM_cert(der.replace(b"a.example", b"a.\xa5xample")).encode()


def test_what_else_is_in_the_file_is_passed_over_and_shown_to_nobody() -> None:
    found = read_serving_certificate("# für Müller\n".encode() + GOOD[1] + GOOD[0] + b"\xff\n", GOOD[1])
    assert (found.names, found.chain_pem.encode()) == (("a.example",), GOOD[0])


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        (b"", GOOD[1], "tls.crt holds no certificate in PEM"),
        (GOOD[0], b"key", "tls.key holds no private key in PEM"),
        (GOOD[0], OTHER[1], "tls.key is not the key of the first certificate"),
        (GOOD[0][:200] + b"\n-----END CERTIFICATE-----\n", GOOD[1], "can't be read"),
        (GOOD[0], GOOD[1][:80] + b"\n-----END PRIVATE KEY-----\n", "can't be read"),
        (*issued("a.example", ends=NOW - timedelta(minutes=1)), "clients do not take its certificate: .*expired"),
        (*issued("a.example", begins=NOW + timedelta(hours=1)), "clients do not take its certificate: .*not yet valid"),
        (*issued("a.example", for_clients=True), "clients do not take its certificate: .*purpose"),
        (*issued(), "has no DNS names"),
        (GOOD[0].replace(b"\nM", "\nÄM".encode()), GOOD[1], "holds no certificate in PEM"),
        (unreadable(), GOOD[1], "tls.crt can't be read: .*can't decode"),
        (*issued("a.example", password="long"), "is encrypted; put it in without a password"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_clients_would_refuse_is_named(chain: bytes, key: bytes, message: str) -> None:
    with pytest.raises(CertificateError, match=message) as error:
        read_serving_certificate(chain, key)
    assert "PRIVATE KEY-----" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "host", "holds"),
    [
        ("api.openai.com", "API.openai.com", True),
        ("*.openai.com", "api.openai.com", True),
        ("*.openai.com", "eu.api.openai.com", False),
        ("*.openai.com", "openai.com", False),
        ("openai.com", "api.openai.com", False),
        ("*", "localhost", False),
    ],
)
def test_names_hold_as_for_clients(name: str, host: str, holds: bool) -> None:
    assert certified([name], host) is holds


@given(st.data())
def test_what_is_broken_anyhow_is_named(data: st.DataObject) -> None:
    broken = [bytearray(each) for each in GOOD]
    for _ in range(data.draw(st.integers(1, 4))):
        text = broken[data.draw(st.integers(0, 1))]
        start = data.draw(st.integers(0, len(text)))
        text[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=5))
    with suppress(CertificateError):
        assert read_serving_certificate(bytes(broken[0]), bytes(broken[1])).names
