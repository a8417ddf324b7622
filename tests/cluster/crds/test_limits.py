"""How large an object may be and how long its name, as the API server sees it."""

import json
from typing import Any

import pytest
from tests.crds.tables import TABLES, changed

from limpet_lab.kubernetes.apiserver import ApiServer

PROVIDERS = TABLES["providers.yaml"]
LONGEST = ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61])
"""253 characters, the longest name of an object."""


def hand(server: ApiServer, namespace: str, made: dict[str, Any]) -> Any:
    """Sent plainly: kubectl's own annotation would be too large first."""
    return server.request("POST", f"/apis/limpet.dev/v1alpha1/namespaces/{namespace}/providers", content=made)


def padded(size: int) -> dict[str, Any]:
    """A Provider with `size` bytes of annotations, of which Kubernetes allows 256 KiB in all."""
    made = changed(PROVIDERS, {})
    made["metadata"]["annotations"] = {"example.com/note": "x" * size}
    return made


def test_the_longest_name_is_taken_for_each_kind(apiserver: ApiServer, namespace: str) -> None:
    assert len(LONGEST) == 253
    for table in TABLES.values():
        apiserver.apply(changed(table, {}, LONGEST), namespace=namespace).ok()
        assert apiserver.get(table["kind"], LONGEST, "-n", namespace)["metadata"]["name"] == LONGEST


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (LONGEST + "n", "metadata.name: Invalid value: "),
        ("Deepseek", "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"),
        ("deep_seek", "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"),
    ],
)
def test_an_invalid_name_is_refused(apiserver: ApiServer, namespace: str, name: str, expected: str) -> None:
    assert expected in apiserver.apply(changed(PROVIDERS, {}, name), namespace=namespace).refused()


@pytest.mark.parametrize("length", [253, 254])
def test_what_refers_to_a_name_takes_as_long_a_name(apiserver: ApiServer, namespace: str, length: int) -> None:
    reference = {"credential": {"secretRef": {"name": "n" * length, "key": "k" * 253}}}
    applied = apiserver.apply(changed(PROVIDERS, reference), namespace=namespace)
    if length <= 253:
        applied.ok()
    else:
        assert "spec.credential.secretRef.name: Too long: may not be more than 253 bytes" in applied.refused()


def test_the_most_models_with_the_longest_names_fit(apiserver: ApiServer, namespace: str) -> None:
    """The schema's own bounds end well before those of etcd."""
    models = [{"name": f"{n:04}".rjust(256, "m"), "upstreamName": f"{n:04}".rjust(256, "u")} for n in range(512)]
    assert hand(apiserver, namespace, changed(PROVIDERS, {"models": models})).status_code == 201
    one_more = changed(PROVIDERS, {"models": [*models, {"name": "one-more"}]}, "y")
    refused = hand(apiserver, namespace, one_more)
    assert refused.status_code == 422
    assert "spec.models: Too many: 513: must have at most 512 items" in refused.json()["message"]


def price_list(models: int) -> dict[str, Any]:
    """A Pricing with 32 windows of so many models each."""
    prices = {"input": "1234567.123456789", "cacheRead": "1", "cacheWrite": "1", "cacheWrite1h": "1", "output": "1"}
    priced = [{"name": f"{n:04}".rjust(256, "m"), "perMillionTokens": prices} for n in range(512)]
    windows = [{"name": f"w{n}", "from": "09:00", "to": "10:00", "models": priced[:models]} for n in range(32)]
    return changed(TABLES["pricings.yaml"], {"models": priced, "windows": windows})


@pytest.mark.parametrize(
    ("models", "mebibytes", "status", "expected"), [(80, 1.1, 201, ""), (130, 1.6, 500, "request is too large")]
)
def test_an_object_of_a_mebibyte_is_taken_and_one_of_two_is_not(
    apiserver: ApiServer, namespace: str, models: int, mebibytes: float, status: int, expected: str
) -> None:
    made = price_list(models)
    assert len(json.dumps(made)) > mebibytes * 1024 * 1024
    path = f"/apis/limpet.dev/v1alpha1/namespaces/{namespace}/pricings"
    answer = apiserver.request("POST", path, content=made)
    assert answer.status_code == status, answer.text
    assert expected in answer.text


@pytest.mark.parametrize(
    ("size", "status", "expected"),
    [
        (250 * 1024, 201, ""),
        (1024 * 1024, 422, "metadata.annotations: Too long: may not be more than 262144 bytes"),
        (4 * 1024 * 1024, 413, "limit is 3145728"),
    ],
)
def test_what_is_too_large_is_refused_in_words(
    apiserver: ApiServer, namespace: str, size: int, status: int, expected: str
) -> None:
    answer = hand(apiserver, namespace, padded(size))
    assert answer.status_code == status
    assert expected in answer.text


def test_what_is_too_large_for_plain_apply_goes_by_server_side_apply(apiserver: ApiServer, namespace: str) -> None:
    """Plain apply keeps a copy of the object in an annotation, which has its own limit."""
    models = [{"name": f"{n:04}".rjust(256, "m"), "upstreamName": f"{n:04}".rjust(256, "u")} for n in range(512)]
    made = changed(PROVIDERS, {"models": models})
    assert "metadata.annotations: Too long" in apiserver.apply(made, namespace=namespace).refused()
    flags = ("--server-side", "--field-manager=test", "--namespace", namespace, "--filename", "-")
    apiserver.kubectl("apply", *flags, input=json.dumps(made)).ok()
