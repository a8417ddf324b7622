"""Which certificate clients are shown while its Secret comes, changes, breaks and goes."""

from datetime import UTC, datetime, timedelta

from limpet_operator.planning.plan import Plan
from limpet_operator.planning.serving_certificate import ServedCertificate, served_certificate, with_certificate
from limpet_operator.resources.problem import Invalid, ObjectKey, Problem
from limpet_operator.resources.secret import SecretObject, SecretText
from limpet_operator.resources.serving_certificate import CertificateError, ServingCertificate

KEY = ObjectKey("Secret", "ai", "gateway-tls")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def secret(chain: str = "first", **more: str) -> SecretObject:
    values = {"tls.crt": chain, "tls.key": "key", **more}
    return SecretObject(KEY, {name: text.encode() for name, text in values.items() if text})


def read(chain: bytes, key: bytes) -> ServingCertificate:
    if chain.startswith(b"bad"):
        raise CertificateError("clients do not take its certificate")
    return ServingCertificate(chain.decode(), SecretText(key.decode()), ("a.example",), NOW + timedelta(days=1))


def after(*states: SecretObject | Invalid | None) -> ServedCertificate:
    """What is served when the Secret was found in these states, one after the other."""
    served = ServedCertificate(KEY)
    for found in states:
        served = served_certificate(served, found, read)
    return served


def test_without_a_certificate_that_can_be_used_the_port_is_closed_and_that_is_said() -> None:
    for found, words in (
        (None, "it is missing; create it with `kubectl create secret tls`"),
        (secret(**{"tls.key": ""}), "it has no tls.key"),
        (secret("bad"), "clients do not take its certificate"),
        (Invalid(KEY, (Problem("", "Limpet may not read it"),)), "Limpet may not read it"),
    ):
        served = after(found)
        assert served.certificate is None
        told = served.told(NOW)
        assert told is not None
        assert told.startswith("Secret ai/gateway-tls: ")
        assert words in told
        assert told.endswith("until then the gateway's port for https:// is closed")


def test_what_was_read_stays_while_the_secret_is_broken_or_away_and_goes_with_the_next_good_one() -> None:
    for found in (None, secret("bad"), Invalid(KEY, (Problem("", "unreadable"),))):
        served = after(secret("first"), found)
        assert served.certificate is not None
        assert served.certificate.chain_pem == "first"
        assert (served.told(NOW) or "").endswith("the certificate that was read before stays in force")
        served = served_certificate(served, secret("second"), read)
        assert served.certificate is not None
        assert (served.certificate.chain_pem, served.told(NOW)) == ("second", None)


def test_it_is_read_again_only_when_the_secret_has_changed() -> None:
    served = after(secret())
    assert served_certificate(served, secret(), read) is served


def test_that_it_has_expired_since_is_told() -> None:
    assert "has expired" in (after(secret()).told(NOW + timedelta(days=2)) or "")


def test_a_plan_has_it_with_a_finding_about_the_secret() -> None:
    good = with_certificate(Plan(), after(secret()), exists=True)
    assert good.certificate is not None
    assert good.findings[KEY].ok
    bad = with_certificate(Plan(), after(secret("bad")), exists=True)
    assert bad.certificate is None
    assert bad.findings[KEY].accepted.message == "clients do not take its certificate"
    assert with_certificate(Plan(), after(None), exists=False) == Plan()
