"""What the chart does for a service mesh."""

from typing import Any

import pytest
import yaml
from helm_python import HelmError
from tests.chart.rendered import container, objects, one, pod

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_sidecar import SidecarMesh
from limpet_operator.pod.settings import ReplicaSettings, parse_settings
from limpet_operator.publish.bootstrap import mesh_secret
from limpet_operator.upkeep.settings import KeptSidecars, UpkeepSettings


def told(values: dict[str, object], name: str = "limpet") -> UpkeepSettings | None:
    """What the operator makes of its flags about Istio."""
    return settings(values, name).mesh


def settings(values: dict[str, object], name: str = "limpet") -> ReplicaSettings:
    found = objects(values, name=name)
    operator = next(each["metadata"]["name"] for each in found if each["metadata"]["name"].endswith("-operator"))
    flags = [flag.replace("$(POD_NAMESPACE)", "ai") for flag in container(pod(found, operator), "operator")["args"]]
    return parse_settings(flags, {})


def test_the_operator_is_told_of_the_gateway_as_the_mesh_knows_it() -> None:
    mesh = told(
        {
            "mesh": {"istio": {"enabled": True, "hosts": ["llm.internal"], "exportTo": ["apps"]}},
            "gateway": {"service": {"port": 8080}},
        },
        "prod",
    )
    assert mesh is not None
    assert (mesh.gateway.host, mesh.gateway.port) == ("prod-limpet-gateway.ai.svc.cluster.local", 8080)
    assert mesh.gateway.pod_labels == {"app.kubernetes.io/component": "gateway", "app.kubernetes.io/instance": "prod"}
    assert (mesh.hosts, mesh.gateway.export_to, mesh.whole_cluster) == (("llm.internal",), ("apps",), True)
    assert mesh.lease == ("ai", "prod-limpet-operator")


def test_other_names_of_the_release_are_told_as_well() -> None:
    mesh = told({"fullnameOverride": "llm", "mesh": {"istio": {"enabled": True, "wholeCluster": False}}})
    assert mesh is not None
    assert mesh.gateway.host == "llm-gateway.ai.svc.cluster.local"
    assert not mesh.whole_cluster


def test_without_a_mesh_nothing_is_kept() -> None:
    assert told({}) is None


def test_workloads_are_tenants_only_where_that_was_asked_for() -> None:
    assert not settings({}).envoy.tenant_from_workload
    assert settings({"mesh": {"tenantFromWorkload": True}}).envoy.tenant_from_workload


SIDECARS: dict[str, object] = {"mesh": {"sidecars": {"namespaces": ["apps", "shop"], "trustDomain": "corp.example"}}}


def test_the_operator_is_told_which_sidecars_may_ask() -> None:
    found = settings(SIDECARS)
    assert found.envoy.sidecars is not None
    assert (found.envoy.sidecars.port, found.envoy.sidecars.namespaces) == (9443, ("apps", "shop"))
    assert found.envoy.sidecars.trust_domain == "corp.example"
    assert found.credentials is not None
    assert found.credentials.port == 18001
    assert settings({}).envoy.sidecars is None


def test_ports_for_sidecars_are_where_the_printed_objects_look_for_them() -> None:
    found = objects(SIDECARS)
    gateway, told = MeshGateway("ai"), SidecarMesh(("apps",), "")
    ports = {
        (f"{each['metadata']['name']}.ai.svc", port["port"]): port["appProtocol"]
        for each in found
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
        if port["name"] in ("sidecars", "credentials")
    }
    assert ports == {
        (gateway.workers_host.removesuffix(".cluster.local"), told.workers_port): "tls",
        (gateway.operator_host, told.credentials_port): "tls",
    }
    data = one(found, "ConfigMap", "limpet-envoy")["data"]
    assert yaml.safe_load(data["mesh.yaml"]) == mesh_secret()


def test_only_the_listed_namespaces_reach_these_ports() -> None:
    listed = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in ("apps", "shop")
    ]
    for policy, port in (("limpet-operator", "credentials"), ("limpet-gateway", "sidecars")):
        rules = one(objects(SIDECARS), "NetworkPolicy", policy)["spec"]["ingress"]
        assert [rule["from"] for rule in rules if {"protocol": "TCP", "port": port} in rule["ports"]] == [listed]
        assert port not in str(one(objects(), "NetworkPolicy", policy))


KEPT: dict[str, Any] = {
    "mesh": {
        "sidecars": {"namespaces": ["apps", "shop"]},
        "istio": {"enabled": True, "mode": "sidecar", "settleSeconds": 8},
    }
}


def test_the_operator_is_told_whose_sidecars_to_tell() -> None:
    mesh = told(KEPT)
    assert mesh is not None
    assert mesh.sidecars == KeptSidecars(("apps", "shop"), "ai-limpet-operator-mesh", 8.0)
    assert mesh.gateway.export_to == ("apps", "shop")
    more = told({"mesh": {**KEPT["mesh"], "istio": {**KEPT["mesh"]["istio"], "exportTo": ["batch"]}}})
    assert more is not None
    assert more.gateway.export_to == ("batch", "apps", "shop")


def test_it_may_write_for_them_and_read_the_role_that_owns_what_it_writes_and_nothing_else() -> None:
    found = objects(KEPT)
    roles = {
        each["metadata"]["namespace"]: each
        for each in found
        if each["kind"] == "Role" and each["metadata"]["name"] == "ai-limpet-operator-mesh"
    }
    assert roles.keys() == {"apps", "shop"}
    for role in roles.values():
        assert role["rules"] == [
            {
                "apiGroups": ["networking.istio.io"],
                "resources": ["envoyfilters"],
                "verbs": ["list", "watch", "create", "patch", "delete"],
            },
            {
                "apiGroups": ["rbac.authorization.k8s.io"],
                "resources": ["roles"],
                "resourceNames": ["ai-limpet-operator-mesh"],
                "verbs": ["get"],
            },
        ]
    own = one(found, "Role", "limpet-operator-mesh")["rules"]
    assert [each["resources"] for each in own] == [["serviceentries", "virtualservices"], ["destinationrules"]]
    egress = objects({"mesh": {"istio": {"enabled": True}, "sidecars": {"namespaces": ["apps"]}}})
    assert "envoyfilters" not in str(egress)
    assert "destinationrules" not in str(egress)


@pytest.mark.parametrize(
    ("namespaces", "message"),
    [
        ([], "mesh.istio.mode is sidecar without mesh.sidecars.namespaces"),
        (["apps", "ai"], "lists ai, the gateway's own namespace"),
    ],
)
def test_namespaces_that_make_no_sense_are_refused(namespaces: list[str], message: str) -> None:
    with pytest.raises(HelmError, match=message):
        objects({"mesh": {"sidecars": {"namespaces": namespaces}, "istio": {"enabled": True, "mode": "sidecar"}}})
