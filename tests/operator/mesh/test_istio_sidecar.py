"""The objects of mode sidecar: what each provider and each namespace of applications gets."""

import json
from typing import Any

import pytest
from tests.operator.conftest import Build
from tests.operator.mesh.test_istio_egress import provider

from limpet_operator.mesh.conflicts import settled
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_object import IstioObject, MeshObjects
from limpet_operator.mesh.istio_sidecar import SidecarMesh, sidecar_objects, sidecar_settings
from limpet_operator.mesh.provider_clusters import CLUSTER_NAMES, cluster_name
from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import settings_for

GATEWAY = MeshGateway(export_to=("apps",))
ETCD_LIMIT = 1_500_000


def planned(build: Build, name: str = "deepseek", ca_pem: str | None = None, **spec: Any) -> PlannedProvider:
    parsed = provider(build, name, "team", **spec)
    return PlannedProvider(parsed.key.display_name, parsed, None, ca_pem, {}, {})


def written(
    *providers: PlannedProvider,
    apps: tuple[str, ...] = ("apps",),
    hosts: tuple[str, ...] = (),
    routed_by_others: tuple[str, ...] = (),
) -> MeshObjects:
    envoy = settings_for(Plan(providers=providers), EnvoySettings("::", 10000, ()))
    return sidecar_objects(providers, hosts, GATEWAY, SidecarMesh(apps, "(ca)"), envoy, routed_by_others)


def of(found: MeshObjects, kind: str, about: str) -> IstioObject:
    (each,) = [each for each in found.objects if each.kind == kind and each.name == f"{GATEWAY.name}-{about}"]
    return each


def patches(found: MeshObjects, about: str, applies_to: str) -> list[dict[str, Any]]:
    return [each for each in of(found, "EnvoyFilter", about).spec["configPatches"] if each["applyTo"] == applies_to]


DEEPSEEK = "deepseek.team.providers.limpet.internal"


def test_they_come_on_top_of_those_of_mode_egress(build: Build) -> None:
    one = planned(build)
    egress = egress_objects([one.spec], ("llm.internal",), GATEWAY).objects
    found = written(one, hosts=("llm.internal",)).objects
    assert found[: len(egress)] == egress
    # A cluster is there before the filters that are for it, and both before the routes to it.
    assert [each.kind for each in found[len(egress) :]] == [
        "DestinationRule", "ServiceEntry", "DestinationRule", *["EnvoyFilter"] * 4,
    ]  # fmt: skip


def test_the_name_of_a_cluster_is_what_the_template_says(build: Build) -> None:
    assert cluster_name(planned(build)) == f"outbound|80||{DEEPSEEK}"
    assert sidecar_settings(GATEWAY, SidecarMesh(("apps",), "(ca)")).cluster_names == CLUSTER_NAMES
    assert CLUSTER_NAMES == "outbound|80||{name}.{namespace}.providers.limpet.internal"


def test_two_providers_on_one_host_have_clusters_and_filters_of_their_own(build: Build) -> None:
    found = written(
        planned(build, "a", vendor="Custom", url="https://h.example/a"),
        planned(build, "b", vendor="Custom", url="https://h.example/b"),
    )
    for name in ("a", "b"):
        about = f"{name}.team.providers.limpet.internal"
        entry = of(found, "ServiceEntry", about)
        assert entry.spec["endpoints"] == [{"address": "h.example", "ports": {"http": 443}}]
        assert entry.spec["ports"] == [{"number": 80, "name": "http", "protocol": "HTTP"}]
        (cluster,) = patches(found, about, "CLUSTER")
        assert cluster["match"]["cluster"] == {"name": f"outbound|80||{about}"}
        text = json.dumps(cluster["patch"]["value"])
        assert f'"prefix": "/{name}"' in text
        assert f"limpet/credential/team/{name}" in text
    assert of(found, "VirtualService", "h.example").providers == ("team/a", "team/b")


@pytest.mark.parametrize(
    ("spec", "resolution", "address", "tls"),
    [
        ({"url": "https://h.example/v1"}, "DNS", ("h.example", 443), ("SIMPLE", "h.example", ["h.example"])),
        ({"url": "https://h.example:8443/v1"}, "DNS", ("h.example", 8443), ("SIMPLE", "h.example", ["h.example"])),
        ({"url": "http://h.example:8000/v1"}, "DNS", ("h.example", 8000), ("DISABLE", None, None)),
        ({"url": "https://192.0.2.7/v1"}, "STATIC", ("192.0.2.7", 443), ("SIMPLE", None, ["192.0.2.7"])),
        ({"url": "https://[2001:db8::7]/v1"}, "STATIC", ("2001:db8::7", 443), ("SIMPLE", None, ["2001:db8::7"])),
        (
            {"url": "https://192.0.2.7/v1", "tls": {"serverName": "o.example"}},
            "STATIC",
            ("192.0.2.7", 443),
            ("SIMPLE", "o.example", ["o.example"]),
        ),
        ({"url": "http://vllm/v1"}, "DNS", ("vllm.limpet.svc.cluster.local", 80), ("DISABLE", None, None)),
    ],
)
def test_where_a_cluster_leads_and_what_tls_is_spoken_there(
    build: Build, spec: dict[str, Any], resolution: str, address: tuple[str, int], tls: tuple[Any, Any, Any]
) -> None:
    found = written(planned(build, **spec))
    entry = of(found, "ServiceEntry", DEEPSEEK).spec
    assert entry["resolution"] == resolution
    assert entry["endpoints"] == [{"address": address[0], "ports": {"http": address[1]}}]
    rule = of(found, "DestinationRule", DEEPSEEK).spec["trafficPolicy"]["tls"]
    assert (rule["mode"], rule.get("sni"), rule.get("subjectAltNames")) == tls


def test_an_authority_of_its_own_is_a_patch_of_its_own(build: Build) -> None:
    found = written(planned(build, ca_pem="(its ca)", url="https://h.example/v1"))
    options, transport = patches(found, DEEPSEEK, "CLUSTER")
    assert "transport_socket" not in options["patch"]["value"]
    assert set(transport["patch"]["value"]) == {"transport_socket"}
    assert "(its ca)" in json.dumps(transport)


def test_each_host_has_a_route_for_each_provider_and_the_filters_switched_on(build: Build) -> None:
    found = written(
        planned(build, "a", url="https://h.example/v1"),
        planned(build, "b", url="http://h.example:8000/v1"),
        planned(build, "c", url="https://192.0.2.7/v1"),
        hosts=("llm.internal",),
    )
    hosts = {"h.example:80", "h.example:8000", "llm.internal:80"}
    for name in "abc":
        routes = patches(found, f"{name}.team.providers.limpet.internal-routes", "HTTP_ROUTE")
        assert {each["match"]["routeConfiguration"]["vhost"]["name"] for each in routes} == hosts
        assert {each["patch"]["operation"] for each in routes} == {"INSERT_FIRST"}
    switched = patches(found, "workers", "VIRTUAL_HOST")
    assert {each["match"]["routeConfiguration"]["vhost"]["name"] for each in switched} == hosts
    filters = [each["patch"]["value"] for each in patches(found, "workers", "HTTP_FILTER")]
    assert all(each["disabled"] for each in filters)
    assert {each["name"] for each in filters} == set(switched[0]["patch"]["value"]["typed_per_filter_config"])


def test_the_program_of_attempts_is_given_once_for_each_port_and_not_with_each_provider(build: Build) -> None:
    found = written(
        planned(build, "a", url="https://h.example/v1"),
        planned(build, "b", url="http://h.example:8000/v1"),
        hosts=("llm.internal",),
    )
    for port in ("80", "8000"):
        (given,) = patches(found, f"program-{port}", "ROUTE_CONFIGURATION")
        assert given["match"]["routeConfiguration"] == {"name": port}
    ((name, program),) = given["patch"]["value"]["typed_per_filter_config"].items()
    assert "envoy_on_response" in program["source_code"]["inline_string"]
    (cluster,) = patches(found, "a.team.providers.limpet.internal", "CLUSTER")
    assert f'"name": "{name}"' in json.dumps(cluster)
    assert "envoy_on_response" not in json.dumps(cluster)


def test_filters_are_switched_on_by_settings_with_a_type_as_istio_takes_no_other(build: Build) -> None:
    found = written(planned(build))
    (host,) = patches(found, "workers", "VIRTUAL_HOST")
    for each in host["patch"]["value"]["typed_per_filter_config"].values():
        assert "@type" in each.get("config", each)


def test_every_namespace_of_applications_has_its_own_filters_and_none_is_too_large(build: Build) -> None:
    found = written(planned(build, "a"), planned(build, "b"), apps=("one", "two"))
    filters = [each for each in found.objects if each.kind == "EnvoyFilter"]
    assert [each.namespace for each in filters] == ["one"] * 4 + ["two"] * 4 + ["one"] * 2 + ["two"] * 2
    assert [each.step for each in filters] == [1] * 8 + [2] * 4
    labels = [each.body()["metadata"]["labels"].get("limpet.dev/step") for each in filters]
    assert labels == [None] * 8 + ["2"] * 4
    assert {each.namespace for each in found.objects if each.kind != "EnvoyFilter"} == {"limpet"}
    assert max(len(json.dumps(each.body())) for each in filters) < ETCD_LIMIT / 10
    assert max(len(json.dumps(each.body())) for each in filters if each.providers) < 10_000


def test_no_key_is_in_any_object(build: Build) -> None:
    keyed = planned(build)
    text = json.dumps([each.body() for each in written(keyed).objects])
    assert "limpet/credential/team/deepseek" in text
    assert "sk-" not in text


def test_a_provider_behind_a_proxy_is_left_to_the_gateway(build: Build) -> None:
    found = written(planned(build, proxy={"url": "http://p.example:3128"}), planned(build, "b"))
    assert [each.name for each in found.objects if "deepseek.team" in each.name] == []
    assert found.notes == (
        "team/deepseek is reached through a proxy, which sidecars can't use: the gateway serves its requests",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_provider_in_the_gateways_own_pod_is_left_to_the_gateway(build: Build, host: str) -> None:
    found = written(planned(build, url=f"http://{host}:8080/v1"), planned(build, "b"))
    assert [each.name for each in found.objects if "deepseek.team" in each.name] == []
    assert "which is the application's own pod for a sidecar: the gateway serves its requests" in found.notes[-1]


def test_of_a_host_that_somebody_else_routes_no_sidecar_asks(build: Build) -> None:
    found = written(
        planned(build, url="https://h.example/v1"), hosts=("llm.internal",), routed_by_others=("h.example",)
    )
    for about, applies_to in (("workers", "VIRTUAL_HOST"), (f"{DEEPSEEK}-routes", "HTTP_ROUTE")):
        (patch,) = patches(found, about, applies_to)
        assert patch["match"]["routeConfiguration"]["vhost"]["name"] == "llm.internal:80"


@pytest.mark.parametrize("export_to", [["*"], ["."], ["apps"], None])
def test_who_says_where_the_cluster_of_a_provider_is_gets_no_request_with_its_key(
    build: Build, export_to: list[str] | None
) -> None:
    gateway = MeshGateway(export_to=("*", "apps"))
    one, two = planned(build), planned(build, "other", vendor="Custom", url="https://other.example/v1")
    envoy = settings_for(Plan(providers=(one, two)), EnvoySettings("::", 10000, ()))
    objects = sidecar_objects((one, two), (), gateway, SidecarMesh(("apps", "b"), "(ca)"), envoy).objects
    theirs = {
        "kind": "ServiceEntry",
        "metadata": {"namespace": "mallory", "name": "mine"},
        "spec": {"hosts": [DEEPSEEK], "exportTo": export_to, "endpoints": [{"address": "mallory.example"}]},
    }
    found = settled(objects, [theirs], gateway)
    assert [each for each in found.objects if DEEPSEEK in each.name] == []
    left = [each for each in objects if DEEPSEEK not in each.name]
    assert list(found.objects) == left, "all else is as before, and the gateway serves the provider"
    (conflict,) = found.conflicts
    assert (conflict.host, conflict.providers) == (DEEPSEEK, ("team/deepseek",))
    assert "ServiceEntry mallory/mine says where it is" in str(conflict)


def test_a_provider_at_the_cluster_of_another_is_left_out(build: Build) -> None:
    one, evil = planned(build), planned(build, "evil", vendor="Custom", url=f"http://{DEEPSEEK}/v1")
    found = written(one, evil)
    assert [each.kind for each in found.objects if DEEPSEEK in each.spec.get("hosts", ())] == ["ServiceEntry"]
    assert f"{DEEPSEEK}:80" not in str([each.spec for each in found.objects])
    assert [note for note in found.notes if "is a name of Limpet's own; it is left out" in note]
