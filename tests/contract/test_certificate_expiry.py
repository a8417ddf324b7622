"""When certificates end, as another library that reads them says."""

import base64
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from limpet_extproc.contract.certificate_expiry import expires_at_s, show_certificate_expiry

AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("limpet.test").cert_chain_pems[0].bytes().decode()


def end_of(pem: str) -> float:
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()


@pytest.mark.parametrize("until", [datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2075, 1, 1, tzinfo=UTC)])
def test_it_is_the_end_of_the_validity(until: datetime) -> None:
    pem = AUTHORITY.issue_cert("a", not_after=until).cert_chain_pems[0].bytes().decode()
    assert expires_at_s(pem) == until.timestamp() == end_of(pem)


def test_of_a_chain_the_first_to_end_counts() -> None:
    soon = datetime(2027, 1, 1, tzinfo=UTC)
    short = AUTHORITY.issue_cert("b", not_after=soon).cert_chain_pems[0].bytes().decode()
    assert expires_at_s(LEAF + short) == expires_at_s(short + "words\n" + LEAF) == soon.timestamp()


@pytest.mark.parametrize("text", ["", "no certificate", LEAF[:200], LEAF.replace("M", "!", 1)])
def test_what_is_none_has_no_end(text: str) -> None:
    assert expires_at_s(text) is None


@given(st.binary(max_size=60), st.integers(0, 500))
def test_no_bytes_break_it(noise: bytes, at: int) -> None:
    der = base64.b64decode("".join(LEAF.splitlines()[1:-1]))
    broken = base64.b64encode(der[:at] + noise + der[at + len(noise) :]).decode()
    expires_at_s(f"-----BEGIN CERTIFICATE-----\n{broken}\n-----END CERTIFICATE-----\n")


def test_the_gauge_follows_the_files(tmp_path: Path) -> None:
    def shown(file: str) -> float:
        value = registry.get_sample_value("limpet_certificate_expiry_timestamp_seconds", {"file": file})
        assert value is not None
        return value

    registry = CollectorRegistry()
    show_certificate_expiry(registry, tmp_path)
    assert isnan(shown("tls.crt"))
    (tmp_path / "tls.crt").write_text(LEAF)
    assert shown("tls.crt") == end_of(LEAF)
    assert isnan(shown("ca.crt"))
