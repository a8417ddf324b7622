"""Helm on a real API server: what an upgrade keeps, what it makes anew, and how the first version is upgraded."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import helm_python
import pytest
from cryptography import x509

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_operator.resources.schema import load_crds

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "limpet"
FIRST = ROOT / "tests" / "chart" / "fixtures" / "limpet-0.1.0.tgz"
FIRST_SECRETS = ("controlplane-ca", "controlplane-server", "controlplane-client", "memory-key", "redis")
SECRETS = (*FIRST_SECRETS, "controlplane-activity", "page")

APPLY = re.compile(r"^kubectl (?P<words>apply --server-side --force-conflicts -f) charts/limpet/crds/$", re.MULTILINE)
"""How the documentation says that CRDs are upgraded."""

Secrets = dict[str, dict[str, bytes]]


def random(secrets: Secrets) -> Secrets:
    """What is made by chance; the rights of the bundled Redis's user may be others in another version."""
    return {name: {key: value for key, value in data.items() if key != "users.acl"} for name, data in secrets.items()}


def columns(crds: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `kubectl get` shows of each kind."""
    return {each["metadata"]["name"]: each["spec"]["versions"][0]["additionalPrinterColumns"] for each in crds}


@pytest.fixture
def helm(apiserver: ApiServer, namespace: str) -> Iterator[helm_python.Config]:
    with helm_python.Config(kubeconfig_path=apiserver.kubeconfig, namespace=namespace) as config:
        yield config


@pytest.fixture
def secrets(apiserver: ApiServer, namespace: str) -> Callable[[], Secrets]:
    return partial(secrets_of, apiserver, namespace)


def secrets_of(server: ApiServer, namespace: str) -> Secrets:
    found: dict[str, Any] = server.get("--namespace", namespace, "secrets")
    return {
        entry["metadata"]["name"].removeprefix("limpet-"): {
            key: base64.b64decode(value) for key, value in entry["data"].items()
        }
        for entry in found["items"]
        if entry["type"] != "helm.sh/release.v1"
    }


def test_secrets_are_made_once_and_kept_by_upgrade_and_rollback(
    helm: helm_python.Config, secrets: Callable[[], Secrets]
) -> None:
    helm.install(CHART, "limpet", {})
    first = secrets()
    assert set(first) == set(SECRETS)
    helm.upgrade(CHART, "limpet", {"gateway": {"replicas": 3}})
    assert secrets() == first
    helm.rollback("limpet")
    assert secrets() == first


def test_certificates_are_made_anew_by_the_same_authority_when_they_have_to_be_others(
    helm: helm_python.Config, secrets: Callable[[], Secrets]
) -> None:
    helm.install(CHART, "limpet", {})
    before = secrets()
    helm.upgrade(CHART, "limpet", {"tls": {"validityDays": 30}})
    after = secrets()
    for role in ("controlplane-server", "controlplane-client"):
        assert after[role]["tls.crt"] != before[role]["tls.crt"]
        assert after[role]["ca.crt"] == before[role]["ca.crt"]
        x509.load_pem_x509_certificate(after[role]["tls.crt"]).verify_directly_issued_by(
            x509.load_pem_x509_certificate(before["controlplane-ca"]["tls.crt"])
        )
    assert after["memory-key"] == before["memory-key"]


def test_an_authority_that_was_deleted_is_replaced_with_all_it_signed(
    helm: helm_python.Config, secrets: Callable[[], Secrets], apiserver: ApiServer, namespace: str
) -> None:
    helm.install(CHART, "limpet", {})
    before = secrets()
    apiserver.kubectl("--namespace", namespace, "delete", "secret", "limpet-controlplane-ca").ok()
    helm.upgrade(CHART, "limpet", {})
    after = secrets()
    assert after["controlplane-ca"] != before["controlplane-ca"]
    for role in ("controlplane-server", "controlplane-client"):
        assert after[role]["ca.crt"] == after["controlplane-ca"]["tls.crt"]
        x509.load_pem_x509_certificate(after[role]["tls.crt"]).verify_directly_issued_by(
            x509.load_pem_x509_certificate(after["controlplane-ca"]["tls.crt"])
        )


def test_the_first_version_brings_its_crds_and_can_be_upgraded_and_brought_back(
    private_apiserver: Callable[[], AbstractContextManager[ApiServer]],
) -> None:
    with private_apiserver() as server:
        namespace = server.namespace()
        with helm_python.Config(kubeconfig_path=server.kubeconfig, namespace=namespace) as helm:
            helm.install(FIRST, "limpet", {})
            kept = random(secrets_of(server, namespace))
            assert set(kept) == set(FIRST_SECRETS)
            crds_first = APPLY.search((ROOT / "docs" / "kubernetes.md").read_text())
            assert crds_first
            server.kubectl(*crds_first["words"].split(), f"{CHART}/crds/").ok()
            helm.upgrade(CHART, "limpet", {})
            upgraded = random(secrets_of(server, namespace))
            # The gateways' certificate carries a name more than that of the first version; it is of the same authority.
            anew = upgraded.pop("controlplane-client")
            added = set(SECRETS) - set(FIRST_SECRETS)
            assert upgraded.keys() > added
            assert {name: data for name, data in upgraded.items() if name not in added} == {
                name: kept[name] for name in upgraded.keys() - added
            }
            leaf, authority = (x509.load_pem_x509_certificate(anew[part]) for part in ("tls.crt", "ca.crt"))
            leaf.verify_directly_issued_by(authority)
            assert anew["ca.crt"] == kept["controlplane-client"]["ca.crt"]
            helm.rollback("limpet")
            assert random(secrets_of(server, namespace)) == kept
            helm.uninstall("limpet")
        left = server.get(
            "--namespace",
            namespace,
            "deployments,services,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,networkpolicies,"
            "poddisruptionbudgets",
            "--selector=app.kubernetes.io/part-of=limpet",
        )
        assert left["items"] == []
        assert columns(server.get("crds")["items"]) == columns(load_crds())


def test_an_installation_does_not_take_the_place_of_crds_that_were_applied(apiserver: ApiServer) -> None:
    with (
        helm_python.Config(kubeconfig_path=apiserver.kubeconfig, namespace=apiserver.namespace()) as helm,
        pytest.raises(helm_python.errors.HelmReleaseError, match='conflict with "kubectl"'),
    ):
        helm.install(FIRST, "limpet", {})
