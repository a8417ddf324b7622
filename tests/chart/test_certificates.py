"""Certificates and secrets that the chart makes: who they are for, and that they fit together."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from tests.chart.rendered import Object, objects, one, pod

SERVER_NAMES = {
    f"limpet-{service}{suffix}"
    for service in ("operator", "operator-peers")
    for suffix in ("", ".ai", ".ai.svc", ".ai.svc.cluster.local")
}

CLIENT_NAMES = {"limpet-gateway", "limpet-gateway.ai.svc"}

ACTIVITY_NAMES = {f"limpet-activity{suffix}" for suffix in ("", ".ai", ".ai.svc", ".ai.svc.cluster.local")}


@pytest.fixture(scope="module")
def found() -> list[Object]:
    return objects({"tls": {"validityDays": 90}, "activity": {"enabled": True}})


def read(found: list[Object], name: str) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in one(found, "Secret", name)["data"].items()}


def names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


@pytest.mark.parametrize(
    ("role", "expected"),
    [("server", SERVER_NAMES), ("client", CLIENT_NAMES), ("activity", ACTIVITY_NAMES)],
    ids=["server", "client", "activity"],
)
def test_a_certificate_is_signed_by_the_authority_beside_it(found: list[Object], role: str, expected: set[str]) -> None:
    secret = read(found, f"limpet-controlplane-{role}")
    authority = x509.load_pem_x509_certificate(secret["ca.crt"])
    leaf = x509.load_pem_x509_certificate(secret["tls.crt"])
    leaf.verify_directly_issued_by(authority)
    assert names(leaf) == expected
    assert load_pem_private_key(secret["tls.key"], None).public_key() == leaf.public_key()
    assert (leaf.not_valid_after_utc - datetime.now(UTC)).days in (89, 90)
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH} <= set(usages)


def test_the_authoritys_key_is_in_no_pod(found: list[Object]) -> None:
    authority = read(found, "limpet-controlplane-ca")
    assert (
        x509.load_pem_x509_certificate(authority["tls.crt"])
        .extensions.get_extension_for_class(x509.BasicConstraints)
        .value.ca
    )
    mounted = {
        volume["secret"]["secretName"]
        for deployment in ("limpet-operator", "limpet-gateway", "limpet-redis", "limpet-activity")
        for volume in pod(found, deployment)["spec"]["volumes"]
        if "secret" in volume
    }
    assert mounted == {
        "limpet-controlplane-server",
        "limpet-controlplane-client",
        "limpet-controlplane-activity",
        "limpet-memory-key",
        "limpet-redis",
        "limpet-page",
    }


def test_the_key_of_each_part_is_in_its_own_pods_alone(found: list[Object]) -> None:
    for deployment, role in (("operator", "server"), ("gateway", "client"), ("activity", "activity")):
        secrets = [each.get("secret", {}) for each in pod(found, f"limpet-{deployment}")["spec"]["volumes"]]
        certificates = {name for each in secrets if "controlplane" in (name := each.get("secretName", ""))}
        assert certificates == {f"limpet-controlplane-{role}"}


def test_cert_manager_is_asked_for_the_same(found: list[Object]) -> None:
    asked = objects({"tls": {"certManager": {"enabled": True}}, "activity": {"enabled": True}})
    server = one(asked, "Certificate", "limpet-controlplane-server")["spec"]
    assert set(server["dnsNames"]) == SERVER_NAMES
    assert {"client auth", "server auth"} <= set(server["usages"])
    client = one(asked, "Certificate", "limpet-controlplane-client")["spec"]
    assert set(client["dnsNames"]) == CLIENT_NAMES
    activity = one(asked, "Certificate", "limpet-controlplane-activity")["spec"]
    assert (set(activity["dnsNames"]), "client auth" in activity["usages"]) == (ACTIVITY_NAMES, False)
    assert {entry["metadata"]["name"] for entry in asked if entry["kind"] == "Secret"} == {
        "limpet-memory-key",
        "limpet-redis",
        "limpet-page",
    }
    assert {server["secretName"], client["secretName"]} < {
        entry["metadata"]["name"] for entry in found if entry["kind"] == "Secret"
    }


def test_the_memory_key_is_32_random_bytes(found: list[Object]) -> None:
    key = read(found, "limpet-memory-key")["key"]
    assert len(key) == 32
    assert key != read(objects(), "limpet-memory-key")["key"]


def test_redis_takes_the_password_that_the_gateway_has(found: list[Object]) -> None:
    secret = read(found, "limpet-redis")
    assert secret["username"] == b"limpet"
    acl = secret["users.acl"].decode().splitlines()
    assert acl[0] == "user default off"
    assert f">{secret['password'].decode()} " in acl[1]
    assert len(secret["password"]) == 32
