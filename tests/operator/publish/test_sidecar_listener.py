"""The listener for sidecars: only where it is switched on, for the namespaces that are listed, for three methods."""

from dataclasses import replace
from typing import Any

from tests.operator.conftest import Build

from limpet_operator.publish.bootstrap import CLIENT_SECRET, MESH_SECRET, mesh_secret, pod_secrets
from limpet_operator.publish.envoy_settings import SIDECAR_LISTENER, EnvoySettings, SidecarAccess
from limpet_operator.publish.publication import Publisher
from limpet_operator.publish.resource import LISTENER
from limpet_operator.publish.sidecar_listener import HEALTH_CHECK, PROCESS, STREAM_LOGS, sidecar_listener

GATEWAY = EnvoySettings("::", 10000, ("/run/extproc.sock",))
ACCESS = SidecarAccess(9443, "cluster.local", ("shop", "chat"), CLIENT_SECRET, MESH_SECRET)


def manager(listener: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_without_sidecars_there_is_no_such_listener(build: Build) -> None:
    made = build.plan(build.raw("Provider", "one"), build.secret())
    without = Publisher(GATEWAY).publication(made).resources
    with_them = Publisher(replace(GATEWAY, sidecars=ACCESS)).publication(made).resources
    assert with_them.keys() - without.keys() == {(LISTENER, SIDECAR_LISTENER)}
    assert {key: each.digest for key, each in with_them.items() if key in without} == {
        key: each.digest for key, each in without.items()
    }


def test_who_may_come_in_and_what_for() -> None:
    listener = sidecar_listener(ACCESS, "::")
    tls = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is True
    http = manager(listener)
    (rbac, router) = http["http_filters"]
    (policy,) = rbac["typed_config"]["rules"]["policies"].values()
    assert rbac["typed_config"]["rules"]["action"] == "ALLOW"
    assert [each["authenticated"]["principal_name"]["prefix"] for each in policy["principals"]] == [
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns/chat/sa/",
    ]
    assert router["name"] == "envoy.filters.http.router"
    (host,) = http["route_config"]["virtual_hosts"]
    assert [route["match"]["path"] for route in host["routes"]] == [PROCESS, STREAM_LOGS, HEALTH_CHECK]
    assert all("x-limpet-messages" in route["request_headers_to_remove"] for route in host["routes"])


def test_whoever_cannot_name_its_clusters_has_them_named_as_ours_with_their_namespaces() -> None:
    for route in manager(sidecar_listener(ACCESS, "::"))["route_config"]["virtual_hosts"][0]["routes"]:
        (added,) = route["request_headers_to_add"]
        assert added == {
            "header": {"key": "x-limpet-cluster-names", "value": "{namespace}/{name}"},
            "append_action": "ADD_IF_ABSENT",
        }


def test_the_files_of_its_certificates_are_those_of_a_pod() -> None:
    (own,) = pod_secrets("operator")["client.yaml"]["resources"]
    assert (own["name"], "/etc/limpet/envoy/client.yaml") == CLIENT_SECRET
    (mesh,) = mesh_secret()["resources"]
    assert (mesh["name"], "/etc/limpet/envoy/mesh.yaml") == MESH_SECRET
    assert mesh["validation_context"]["watched_directory"] == {"path": "/etc/limpet/mesh"}
