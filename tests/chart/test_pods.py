"""The pods that the chart starts: what they mount, may do, and take of those who install."""

from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.chart.rendered import Object, containers, objects, one, pod
from tests.chart.ways import WAYS, selects, templates

BROUGHT = {
    "team-redis",
    "server-tls",
    "client-tls",
    "activity-tls",
    "hmac",
    "page-token",
    "records",
    "llm-tls",
    "test-key",
}
"""Secrets of those who install."""


def test_what_pods_mount_and_run_as_is_in_the_release_or_brought_along(found: list[Object]) -> None:
    def names(kind: str) -> set[str]:
        return {entry["metadata"]["name"] for entry in found if entry["kind"] == kind}

    issued = {entry["spec"]["secretName"] for entry in found if entry["kind"] == "Certificate"}
    for template in templates(found):
        spec = template["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            if "secret" in volume:
                assert volume["secret"]["secretName"] in names("Secret") | issued | BROUGHT
            if "configMap" in volume:
                # Istio puts that one into every namespace.
                assert volume["configMap"]["name"] in names("ConfigMap") | {"istio-ca-root-cert"}
        mounts = [mount["name"] for each in containers(template) for mount in each["volumeMounts"]]
        assert set(mounts) == set(volumes)
        assert spec.get("serviceAccountName", "default") in names("ServiceAccount") | {"default"}


def test_keys_that_are_picked_from_secrets_are_in_them(found: list[Object]) -> None:
    data = {entry["metadata"]["name"]: set(entry["data"]) for entry in found if entry["kind"] == "Secret"}
    for template in templates(found):
        for volume in template["spec"]["volumes"]:
            secret = volume.get("secret", {})
            picked = {item["key"] for item in secret.get("items", [])}
            assert picked <= data.get(secret.get("secretName"), picked)


def test_no_pod_may_do_more_than_it_must(found: list[Object]) -> None:
    for template in templates(found):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for each in containers(template):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "requests" in each["resources"]


def test_only_the_operator_has_a_token(found: list[Object]) -> None:
    tokens = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template["spec"]["automountServiceAccountToken"]
        for template in templates(found)
    }
    assert {component for component, mounted in tokens.items() if mounted} == {"operator"}


def test_a_pods_own_wishes_reach_all_pods() -> None:
    for template in templates(objects(yaml.safe_load(WAYS["placed"]))):
        spec = template["spec"]
        assert template["metadata"]["annotations"]["rolled"] == "1"
        assert template["metadata"]["labels"]["team"] == "ai"
        assert spec["nodeSelector"] == {"disk": "ssd"}
        assert spec["priorityClassName"] == "high"
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        (constraint,) = spec["topologySpreadConstraints"]
        assert selects(constraint["labelSelector"]["matchLabels"], template["metadata"]["labels"])


def test_images_are_pinned_by_digest_where_one_is_given() -> None:
    template = pod(objects(yaml.safe_load(WAYS["pinned"])), "limpet-operator")
    assert containers(template)[0]["image"] == "registry.example:5000/team/limpet:2@sha256:" + "0" * 64


PODS = ("operator", "gateway", "redis", "activity")


def for_one(component: str, values: dict[str, Any]) -> dict[str, Any]:
    """The same values for the pods of one component."""
    if component == "redis":
        return {"redis": {"bundled": values}, "activity": {"enabled": True}}
    return {"activity": {"enabled": True}} | {
        component: {"enabled": True, **values} if component == "activity" else values
    }


@pytest.mark.parametrize("component", PODS)
def test_each_component_may_have_wishes_of_its_own(component: str) -> None:
    wishes: dict[str, Any] = {
        "podAnnotations": {"a": "own"},
        "podLabels": {"team": "own"},
        "nodeSelector": {"disk": "own"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 9, "topologyKey": "own", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "own",
        "podSecurityContext": {"runAsUser": 1_000_680_000, "supplementalGroups": [5555]},
        "securityContext": {"readOnlyRootFilesystem": False},
    }
    common = {"podAnnotations": {"a": "all", "b": "all"}, "nodeSelector": {"disk": "all"}, "priorityClassName": "all"}
    found = objects({**common, **for_one(component, wishes)})
    for each in found:
        kubernetes_validate.validate(each, "1.36", strict=True)
    for other in PODS:
        template, whose = pod(found, f"limpet-{other}"), "own" if other == component else "all"
        spec = template["spec"]
        assert spec["nodeSelector"] == {"disk": whose}
        assert spec["priorityClassName"] == whose
        annotations = template["metadata"]["annotations"]
        assert (annotations["a"], annotations["b"]) == (whose, "all")
        assert spec["securityContext"]["runAsUser"] == (1_000_680_000 if whose == "own" else 65532)
        assert spec["securityContext"]["fsGroup"] == 65532
        assert ("tolerations" in spec, "affinity" in spec) == (whose == "own", whose == "own")
        assert template["metadata"]["labels"].get("team") == ("own" if whose == "own" else None)
        assert next(each["securityContext"]["readOnlyRootFilesystem"] for each in containers(template)) == (
            whose == "all"
        )
        (first, *_) = spec["topologySpreadConstraints"]
        assert (first["maxSkew"] == 9) == (whose == "own")
        assert selects(first["labelSelector"]["matchLabels"], template["metadata"]["labels"])


IDS = ("runAsUser", "runAsGroup", "fsGroup")


def admitted_by_openshift(template: Object) -> list[str]:
    """What the SCC restricted-v2 has against a pod: it gives ids itself, and takes no others."""
    pod_context = template["spec"]["securityContext"]
    against = [f"{key} is given" for key in IDS if pod_context.get(key) is not None]
    if pod_context.get("seccompProfile") not in (None, {"type": "RuntimeDefault"}):
        against.append("seccompProfile")
    against += [
        f"volume {volume['name']}"
        for volume in template["spec"]["volumes"]
        if not {"configMap", "emptyDir", "secret", "projected", "csi", "downwardAPI"} & set(volume)
    ]
    for each in containers(template):
        context = each["securityContext"]
        against += [f"{key} is given" for key in IDS if context.get(key) is not None]
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            against.append(f"{each['name']} asks for privileges")
        if context["capabilities"].get("add") or "ALL" not in context["capabilities"]["drop"]:
            against.append(f"{each['name']} keeps capabilities")
        against += [f"{each['name']} wants a port of the node" for port in each.get("ports", []) if "hostPort" in port]
    return against


@pytest.mark.parametrize(
    "values",
    [
        {"podSecurityContext": dict.fromkeys(IDS)},
        {
            "operator": {"podSecurityContext": dict.fromkeys(IDS)},
            "gateway": {"podSecurityContext": dict.fromkeys(IDS)},
            "redis": {"bundled": {"podSecurityContext": dict.fromkeys(IDS)}},
            "activity": {"podSecurityContext": dict.fromkeys(IDS)},
            "test": {"podSecurityContext": dict.fromkeys(IDS)},
        },
    ],
    ids=["all pods", "each component"],
)
def test_where_the_platform_gives_ids_ours_can_be_dropped(values: dict[str, Any]) -> None:
    assert all(admitted_by_openshift(template) for template in templates(objects()))
    for template in templates(objects(values)):
        assert admitted_by_openshift(template) == []
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("component", ["operator", "gateway", "activity"])
def test_a_service_account_can_be_somebody_in_the_cloud(component: str) -> None:
    account = {
        "annotations": {"iam.gke.io/gcp-service-account": "x@y"},
        "labels": {"azure.workload.identity/use": "true"},
    }
    found = objects(for_one(component, {"serviceAccount": account}))
    metadata = one(found, "ServiceAccount", f"limpet-{component}")["metadata"]
    assert metadata["annotations"] == account["annotations"]
    assert metadata["labels"].items() >= account["labels"].items()
    assert metadata["labels"]["app.kubernetes.io/component"] == component
