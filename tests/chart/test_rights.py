"""What the operator may do is what it calls, no verb more; and the gateway may do nothing."""

from typing import Any

import pytest
from tests.chart.rendered import Object, objects

CALLS = {
    # sources/kopf_watch.py lists and watches, sources/listing.py lists, status/writer.py reads one after a conflict.
    ("limpet.dev", "providers"): {"get", "list", "watch"},
    ("limpet.dev", "pricings"): {"get", "list", "watch"},
    ("limpet.dev", "healthprobes"): {"get", "list", "watch"},
    ("limpet.dev", "stickypolicies"): {"get", "list", "watch"},
    # status/writer.py
    ("limpet.dev", "providers/status"): {"patch"},
    ("limpet.dev", "pricings/status"): {"patch"},
    ("limpet.dev", "healthprobes/status"): {"patch"},
    ("limpet.dev", "stickypolicies/status"): {"patch"},
    # sources/referenced.py: a listing and a watch of one name
    ("", "secrets"): {"list", "watch"},
    ("", "configmaps"): {"list", "watch"},
    # status/events.py
    ("events.k8s.io", "events"): {"create", "patch"},
}
LEASE = {
    # status/lease.py
    ("coordination.k8s.io", "leases"): {"create"},
    ("coordination.k8s.io", "leases", "limpet-operator"): {"get", "update"},
}


def granted(role: Object) -> dict[tuple[str, ...], set[str]]:
    """Verbs by group, resource and, where it is bound to one, name."""
    rights: dict[tuple[str, ...], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [None]):
                    rights.setdefault((group, resource, *([name] if name else [])), set()).update(rule["verbs"])
    return rights


def bound_to(found: list[Object], account: str) -> dict[tuple[str | None, str], Object]:
    """The roles of a service account by namespace and name, found by following its bindings."""
    roles = {
        (entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]): entry
        for entry in found
        if entry["kind"] in ("Role", "ClusterRole")
    }
    return {
        (binding["metadata"].get("namespace"), binding["roleRef"]["name"]): roles[
            binding["roleRef"]["kind"], binding["metadata"].get("namespace"), binding["roleRef"]["name"]
        ]
        for binding in found
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        and binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "ai"}]
    }


@pytest.mark.parametrize(
    ("watch", "places"),
    [
        ({}, {("ai", "limpet-operator")}),
        ({"namespaces": ["ai", "b"]}, {("ai", "limpet-operator"), ("b", "ai-limpet-operator")}),
        ({"namespaces": ["b", "c"]}, {("b", "ai-limpet-operator"), ("c", "ai-limpet-operator")}),
        ({"allNamespaces": True}, {(None, "ai-limpet-operator")}),
    ],
)
def test_the_operator_may_do_what_it_calls_where_it_watches(
    watch: dict[str, Any], places: set[tuple[str | None, str]]
) -> None:
    found = objects({"watch": watch})
    roles = bound_to(found, "limpet-operator")
    assert granted(roles.pop(("ai", "limpet-operator-lease"))) == LEASE
    assert set(roles) == places
    assert all(granted(role) == CALLS for role in roles.values())


def test_it_can_be_kept_to_the_secrets_that_providers_name() -> None:
    found = objects({"rbac": {"secretNames": ["openai", "deepseek"]}})
    rights = granted(bound_to(found, "limpet-operator")["ai", "limpet-operator"])
    assert {key: verbs for key, verbs in rights.items() if key[1] == "secrets"} == {
        ("", "secrets", "openai"): {"list", "watch"},
        ("", "secrets", "deepseek"): {"list", "watch"},
    }


def test_keys_of_clients_are_read_in_the_releases_namespace_where_they_count() -> None:
    role = bound_to(objects({"clientKeys": "Required", "watch": {"namespaces": ["b"]}}), "limpet-operator")
    # sources/labelled.py: a listing and a watch by label, which no name can narrow; status/events.py
    wanted = {("", "secrets"): {"list", "watch"}, ("events.k8s.io", "events"): {"create", "patch"}}
    assert granted(role["ai", "limpet-operator-client-keys"]) == wanted
    assert ("ai", "limpet-operator-client-keys") not in bound_to(objects(), "limpet-operator")


@pytest.mark.parametrize("whole", [True, False])
def test_objects_of_a_mesh_are_written_in_the_releases_namespace_and_read_in_all(whole: bool) -> None:
    found = objects({"mesh": {"istio": {"enabled": True, "wholeCluster": whole}}})
    roles = bound_to(found, "limpet-operator")
    # upkeep/writes.py and upkeep/istio_watch.py
    written, read = {"create", "patch", "delete"}, {"list", "watch"}
    kinds = [("networking.istio.io", plural) for plural in ("serviceentries", "virtualservices")]
    assert granted(roles["ai", "limpet-operator-mesh"]) == dict.fromkeys(kinds, written if whole else written | read)
    assert [entry["metadata"]["name"] for entry in found if entry["kind"] == "ClusterRole"] == (
        ["ai-limpet-operator-mesh"] if whole else []
    )
    if whole:
        assert granted(roles[None, "ai-limpet-operator-mesh"]) == dict.fromkeys(kinds, read)
    assert not any("mesh" in name for _, name in bound_to(objects(), "limpet-operator"))


def test_tokens_of_sidecars_are_checked_and_nothing_else_is_allowed_for_them() -> None:
    roles = bound_to(objects({"mesh": {"sidecars": {"namespaces": ["apps"]}}}), "limpet-operator")
    # serve/token_review.py
    tokens = {("authentication.k8s.io", "tokenreviews"): {"create"}}
    assert granted(roles[None, "ai-limpet-operator-tokens"]) == tokens


def test_nothing_of_the_cluster_is_touched_unless_all_namespaces_are_watched() -> None:
    assert [entry for entry in objects() if entry["kind"].startswith("Cluster")] == []


def test_nobody_else_may_do_anything() -> None:
    found = objects()
    assert bound_to(found, "limpet-gateway") == {}
    bindings = [entry for entry in found if entry["kind"] == "RoleBinding"]
    assert len(bindings) == len(bound_to(found, "limpet-operator"))
