"""The objects for a mesh that lets nothing out but at its edge: which hosts go that way, and what is said of others."""

from dataclasses import replace

import pytest
from tests.operator.conftest import Build
from tests.operator.mesh.test_istio_egress import GATEWAY, provider, written

from limpet_operator.mesh.conflicts import settled
from limpet_operator.mesh.gateway import EgressGateway, MeshGateway

EDGE = MeshGateway(egress=EgressGateway("istio-egressgateway", "istio-system"))
HOST = "api.deepseek.com"
EDGE_HOST = "istio-egressgateway.istio-system.svc.cluster.local"


def test_the_gateways_tls_and_that_of_applications_leave_at_the_edge_untouched(build: Build) -> None:
    found = written(provider(build), gateway=EDGE)
    assert found.notes == ()
    kinds = [(each.kind, each.step) for each in found.objects]
    assert kinds == [("ServiceEntry", 1), ("Gateway", 1), ("VirtualService", 1), ("VirtualService", 2)]
    _, opened, onward, mesh = found.objects
    assert opened.spec["selector"] == {"istio": "egressgateway"}
    (server,) = opened.spec["servers"]
    assert (server["port"]["number"], server["tls"], server["hosts"]) == (443, {"mode": "PASSTHROUGH"}, [HOST])
    assert onward.spec["gateways"] == [f"limpet/{opened.name}"]
    assert onward.spec["exportTo"] == [".", "istio-system"]
    assert onward.spec["tls"][0]["route"] == [{"destination": {"host": HOST, "port": {"number": 443}}}]
    (route,) = mesh.spec["tls"]
    assert route["match"] == [{"port": 443, "sniHosts": [HOST]}]
    assert route["route"] == [{"destination": {"host": EDGE_HOST, "port": {"number": 443}}}]
    assert found.where(HOST, "/v1/models") == (GATEWAY.host, "/v1/models"), "of applications"


def test_with_a_certificate_only_the_gateways_own_tls_does(build: Build) -> None:
    mesh = written(provider(build), gateway=replace(EDGE, tls_port=443)).objects[-1]
    own, applications = mesh.spec["tls"]
    assert own["match"][0]["sourceLabels"] == GATEWAY.pod_labels
    assert own["route"][0]["destination"]["host"] == EDGE_HOST
    assert applications["route"][0]["destination"]["host"] == GATEWAY.host


def test_plain_http_arrives_at_port_80_and_goes_on_to_the_providers(build: Build) -> None:
    found = written(provider(build, url="http://h.example:8000/v1"), gateway=EDGE)
    _, opened, onward, mesh = found.objects
    assert [each["port"]["number"] for each in opened.spec["servers"]] == [80]
    assert onward.spec["http"][0]["route"] == [{"destination": {"host": "h.example", "port": {"number": 8000}}}]
    own = next(each for each in mesh.spec["http"] if each["name"] == "gateway-itself-8000")
    assert own["route"] == [{"destination": {"host": EDGE_HOST, "port": {"number": 80}}}]


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        (("https://10.1.2.3/v1",), "which tells hosts by their names; give the address one"),
        (("https://h.example/v1", "https://h.example:8443/v1"), "where each host has one port of a kind"),
    ],
)
def test_a_host_that_the_edge_cannot_tell_goes_directly_and_is_named(
    build: Build, urls: tuple[str, ...], why: str
) -> None:
    found = written(*(provider(build, f"p{number}", url=url) for number, url in enumerate(urls)), gateway=EDGE)
    assert not [each for each in found.objects if each.kind == "Gateway"]
    assert any(f"go there without istio-egressgateway, {why}" in note for note in found.notes)


def test_what_stays_in_the_mesh_does_not_leave_it(build: Build) -> None:
    found = written(provider(build, url="http://vllm.limpet.svc:8000/v1"), hosts=("llm.internal",), gateway=EDGE)
    assert not [each for each in found.objects if each.kind == "Gateway"]
    assert found.notes == ()


def test_the_edges_namespace_sees_the_host_too(build: Build) -> None:
    found = written(provider(build), gateway=replace(EDGE, export_to=("apps",)))
    assert found.entry(HOST)["exportTo"] == [".", "apps", "istio-system"]


def test_names_are_labels_of_dns_and_differ(build: Build) -> None:
    long = "a." * 60 + "example"
    hosts = ("a-b.example", "a.b-example", long)
    for release in ("limpet", "r" * 60):
        found = written(
            *(provider(build, f"p{number}", url=f"https://{host}/v1") for number, host in enumerate(hosts)),
            gateway=replace(EDGE, release=release),
        )
        names = [each.name for each in found.objects if each.kind == "Gateway"]
        assert len(set(names)) == 3
        assert all(len(name) <= 63 and "." not in name for name in names)


def test_where_somebody_else_routes_the_host_nothing_of_ours_is_left(build: Build) -> None:
    objects = written(provider(build), gateway=EDGE).objects
    theirs = {"kind": "VirtualService", "metadata": {"namespace": "ops", "name": "edge"}, "spec": {"hosts": [HOST]}}
    found = settled(objects, [theirs], EDGE)
    assert found.objects == ()
    assert len(found.conflicts) == 1
