"""Every object that the chart makes, for every way to install it: valid, and fitting together."""

import json
from typing import Any

import helm_python
import kubernetes_validate
import yaml
from tests.chart.rendered import CHART, Object, containers, objects, one, pod, pretty
from tests.chart.ways import WAYS, selects, templates

OTHERS = ("Issuer", "Certificate", "ServiceMonitor", "HTTPRoute")
"""Kinds of others, whose schemas are not Kubernetes's."""


def test_helm_has_nothing_against_it(values: dict[str, Any]) -> None:
    report = helm_python.lint(CHART, values, strict=True, namespace="ai")
    assert report["errors"] == [], pretty(report["messages"])
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_every_object_is_valid() -> None:
    unlike = {
        json.dumps(entry, sort_keys=True): entry
        for way in WAYS.values()
        for entry in objects(yaml.safe_load(way))
        if entry["kind"] not in OTHERS
    }
    for entry in unlike.values():
        kubernetes_validate.validate(entry, "1.36", strict=True)


def test_no_two_objects_are_the_same_one(found: list[Object]) -> None:
    keys = [(entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]) for entry in found]
    assert len(keys) == len(set(keys)), sorted(keys)


def test_everything_is_labelled_and_in_its_place(found: list[Object], values: dict[str, Any]) -> None:
    foreign = {"ai", *values.get("watch", {}).get("namespaces", [])}
    for entry in found:
        labels = entry["metadata"]["labels"]
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"} <= set(labels)
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        if entry["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            assert values.get("watch", {}).get("allNamespaces") or entry["metadata"]["name"].endswith(
                ("-operator-mesh", "-operator-tokens")
            )
        elif entry["kind"] in ("Role", "RoleBinding"):
            assert entry["metadata"]["namespace"] in foreign
        else:
            assert entry["metadata"]["namespace"] == "ai"
        assert "helm.sh/resource-policy" not in entry["metadata"].get("annotations", {}), "uninstall would leave it"


def test_selectors_find_the_pods_of_one_deployment_and_ports_exist(found: list[Object]) -> None:
    pods = templates(found)
    for entry in found:
        spec = entry.get("spec", {})
        if entry["kind"] == "Deployment":
            selector, ports = spec["selector"]["matchLabels"], []
            assert "app.kubernetes.io/version" not in selector, "a selector can't change with an upgrade"
        elif entry["kind"] == "Service":
            selector, ports = spec["selector"], [port["targetPort"] for port in spec["ports"]]
        elif entry["kind"] == "PodDisruptionBudget":
            selector, ports = spec["selector"]["matchLabels"], []
        elif entry["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
            ports = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        else:
            continue
        (match,) = [template for template in pods if selects(selector, template["metadata"]["labels"])]
        named = {port["name"] for each in containers(match) for port in each.get("ports", [])}
        assert set(ports) <= named


def test_service_monitors_find_one_service_each_and_its_ports(found: list[Object]) -> None:
    for monitor in found:
        if monitor["kind"] != "ServiceMonitor":
            continue
        (service,) = [
            entry
            for entry in found
            if entry["kind"] == "Service"
            and selects(monitor["spec"]["selector"]["matchLabels"], entry["metadata"]["labels"])
        ]
        named = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == named


def test_gateway_pods_roll_when_envoys_file_changes_and_not_for_new_certificates() -> None:
    def annotations(values: dict[str, Any], namespace: str) -> dict[str, str]:
        template = pod(objects(values, namespace=namespace), "limpet-gateway")
        found: dict[str, str] = template["metadata"]["annotations"]
        return found

    # Each rendering makes new certificates.
    assert annotations({}, "ai") == annotations({}, "ai")
    assert annotations({}, "ai") != annotations({}, "prod")


def test_the_longest_names_still_fit() -> None:
    for entry in objects(name="r" * 53, namespace="n" * 63):
        if entry["kind"] in ("Service", "Deployment", "Role", "ServiceAccount"):
            assert len(entry["metadata"]["name"]) <= 63


def test_a_service_can_have_both_families() -> None:
    families = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    spec = one(objects({"gateway": {"service": families}}), "Service", "limpet-gateway")["spec"]
    assert spec.items() >= families.items()
    assert not {"ipFamilyPolicy", "ipFamilies"} & set(one(objects(), "Service", "limpet-gateway")["spec"])


def test_services_with_tls_of_limpets_own_say_so_to_a_mesh(found: list[Object]) -> None:
    # A mesh takes `grpc` for plain HTTP/2, and would read what it can't.
    ports = [port for entry in found if entry["kind"] == "Service" for port in entry["spec"]["ports"]]
    assert {port["appProtocol"] for port in ports if port["name"] == "grpc"} == {"tls"}
