"""Several hands at one object: server-side apply, who owns what, and a status that only its subresource changes."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.crds.tables import TABLES, changed

from limpet_lab.kubernetes.apiserver import ApiServer, KubectlResult

NEVER = "1970-01-01T00:00:00Z"


def provider(name: str = "shared", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": {"name": name}, "spec": spec}


def hand(server: ApiServer, namespace: str, manager: str, made: dict[str, Any], *flags: str) -> KubectlResult:
    """`kubectl apply --server-side` by a field manager."""
    by = ("--server-side", f"--field-manager={manager}", "--namespace", namespace, "--filename", "-")
    return server.kubectl("apply", *by, *flags, input=json.dumps(made))


BASE = {"vendor": "DeepSeek", "url": "https://api.deepseek.com/v1"}


def test_two_managers_each_bring_models_and_take_only_their_own_away(apiserver: ApiServer, namespace: str) -> None:
    def models() -> list[str]:
        stored = apiserver.get("provider", "shared", "-n", namespace)
        return [model["name"] for model in stored["spec"]["models"]]

    hand(apiserver, namespace, "platform", provider(**BASE, models=[{"name": "chat"}])).ok()
    hand(apiserver, namespace, "team", provider(models=[{"name": "code", "upstreamName": "coder-2"}])).ok()
    assert models() == ["chat", "code"]
    hand(apiserver, namespace, "platform", provider(**BASE, models=[{"name": "chat"}, {"name": "reason"}])).ok()
    assert sorted(models()) == ["chat", "code", "reason"]
    hand(apiserver, namespace, "team", provider(models=[{"name": "small"}])).ok()
    assert sorted(models()) == ["chat", "reason", "small"]


def test_the_same_field_is_a_conflict_that_names_the_other_and_can_be_forced(
    apiserver: ApiServer, namespace: str
) -> None:
    hand(apiserver, namespace, "platform", provider(**BASE, models=[{"name": "chat"}], weight=10)).ok()
    refused = hand(apiserver, namespace, "team", provider(weight=90)).refused()
    assert 'Apply failed with 1 conflict: conflict with "platform": .spec.weight' in refused
    hand(apiserver, namespace, "team", provider(weight=90), "--force-conflicts").ok()
    assert apiserver.get("provider", "shared", "-n", namespace)["spec"]["weight"] == 90


def test_the_same_model_of_two_managers_is_a_conflict_only_where_they_differ(
    apiserver: ApiServer, namespace: str
) -> None:
    hand(apiserver, namespace, "platform", provider(**BASE, models=[{"name": "chat", "upstreamName": "v4"}])).ok()
    hand(apiserver, namespace, "team", provider(models=[{"name": "chat"}])).ok()
    refused = hand(apiserver, namespace, "team", provider(models=[{"name": "chat", "upstreamName": "v5"}])).refused()
    assert 'conflict with "platform": .spec.models[name="chat"].upstreamName' in refused


LISTS = [
    ("Pricing", "models", [{"name": "a", "perMillionTokens": {"input": "1", "output": "1"}}],
     [{"name": "b", "perMillionTokens": {"input": "2", "output": "2"}}], {"providerRef": {"name": "p"}}),
    ("Pricing", "windows", [{"name": "a", "from": "09:00", "to": "10:00", "factor": "2"}],
     [{"name": "b", "from": "10:00", "to": "11:00", "factor": "2"}], None),
    ("HealthProbe", "providerRefs", [{"name": "a"}], [{"name": "b"}], {"http": {"path": "/models"}}),
    ("Provider", "dialects", ["OpenAIChat"], ["AnthropicMessages"], None),
    ("StickyPolicy", "models", ["a"], ["b"], {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "first", "second", "base"), LISTS)
def test_lists_merge_by_what_names_their_items(
    apiserver: ApiServer, namespace: str, kind: str, field: str, first: list[Any], second: list[Any], base: Any
) -> None:
    (table,) = (each for each in TABLES.values() if each["kind"] == kind)
    about = {"apiVersion": "limpet.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}}
    spec = table["spec"] if base is None else base
    hand(apiserver, namespace, "one", {**about, "spec": {**spec, field: first}}).ok()
    hand(apiserver, namespace, "two", {**about, "spec": {field: second}}).ok()
    stored = apiserver.get(kind, "x", "-n", namespace)["spec"][field]
    assert [item["name"] if isinstance(item, dict) else item for item in stored] == [
        item["name"] if isinstance(item, dict) else item for item in (*first, *second)
    ]


# Status.


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "Tested", "message": "fine", "lastTransitionTime": NEVER}


def test_conditions_of_two_writers_stand_side_by_side(apiserver: ApiServer, namespace: str) -> None:
    apiserver.apply(changed(TABLES["providers.yaml"], {}, "shared"), namespace=namespace).ok()
    for manager, kind in (("limpet", "Accepted"), ("audit", "Reviewed"), ("limpet", "Healthy")):
        made = {**provider(), "status": {"conditions": [condition(kind)]}}
        made.pop("spec")
        hand(apiserver, namespace, manager, made, "--subresource=status").ok()
    stored = apiserver.get("provider", "shared", "-n", namespace)["status"]["conditions"]
    # A manager that applies again without one of its fields removes it; what the other wrote stays.
    assert [each["type"] for each in stored] == ["Reviewed", "Healthy"]


def test_a_status_in_an_applied_file_is_dropped(apiserver: ApiServer, namespace: str) -> None:
    made = changed(TABLES["providers.yaml"], {}) | {"status": {"health": {"verdict": "Up"}}}
    apiserver.apply(made, namespace=namespace).ok()
    assert "status" not in apiserver.get("provider", "x", "-n", namespace)


def test_a_status_patch_changes_neither_spec_nor_generation(apiserver: ApiServer, namespace: str) -> None:
    apiserver.apply(changed(TABLES["providers.yaml"], {}), namespace=namespace).ok()
    before = apiserver.get("provider", "x", "-n", namespace)
    patch = json.dumps({"spec": {"weight": 1}, "status": {"health": {"verdict": "Down"}}})
    flags = ("--subresource=status", "--type=merge", f"--patch={patch}")
    apiserver.kubectl("patch", "provider", "x", "-n", namespace, *flags).ok()
    after = apiserver.get("provider", "x", "-n", namespace)
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], 1)
    assert after["status"] == {"health": {"verdict": "Down"}}
    apiserver.kubectl("patch", "provider", "x", "-n", namespace, "--type=merge", '--patch={"spec": {"weight": 1}}').ok()
    assert apiserver.get("provider", "x", "-n", namespace)["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"health": {"verdict": "Fine"}},
         '"Fine": supported values: "Up", "Degraded", "Limited", "Down", "Unknown"'),
        ({"cache": {"hitPercent": 101}},
         "status.cache.hitPercent: Invalid value: 101: cache.hitPercent in body should be less than or equal to 100"),
        ({"conditions": [condition("Accepted", "Yes")]}, 'supported values: "True", "False", "Unknown"'),
        ({"conditions": [condition("Accepted") | {"reason": "two words"}]}, 'reason: Invalid value: "two words"'),
        ({"conditions": [condition("Accepted"), condition("Accepted")]}, 'Duplicate value: {"type":"Accepted"}'),
    ],
)  # fmt: skip
def test_a_wrong_status_is_refused(
    apiserver: ApiServer, namespace: str, status: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    apiserver.apply(changed(TABLES["providers.yaml"], {}), namespace=namespace).ok()
    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps({"status": status}))
    flags = ("--subresource=status", "--type=merge", f"--patch-file={patch}")
    assert expected in apiserver.kubectl("patch", "provider", "x", "-n", namespace, *flags).refused()
