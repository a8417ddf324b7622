"""What Helm says after an installation: the next commands of this very release, and what to be careful about."""

import re
from typing import Any

import pytest
import yaml
from tests.chart.rendered import files


def notes(values: dict[str, Any]) -> str:
    """As `helm install` prints them."""
    return files(values)["limpet/templates/NOTES.txt"]


def steps(text: str) -> list[str]:
    """What the numbered steps are about, in their order."""
    return re.findall(r"^\d+\. (.*?)[,:;]", text, re.MULTILINE)


def test_the_notes_name_the_next_three_commands_of_this_very_release() -> None:
    found = notes({"watch": {"namespaces": ["team-a", "team-b"]}, "gateway": {"service": {"port": 8080}}})
    assert "kubectl -n team-a create secret" in found
    assert "kubectl -n team-a get providers" in found
    assert "kubectl -n ai port-forward service/limpet-gateway 10000:8080" in found
    assert "curl -i http://127.0.0.1:10000/v1/chat/completions" in found


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        ({}, "in the bundled Redis, one pod without persistence"),
        ({"url": "redis://r:6379"}, None),
        ({"bundled": {"enabled": False}}, "each gateway pod remembers for itself"),
    ],
)
def test_the_notes_say_what_memory_there_is(redis: dict[str, Any], expected: str | None) -> None:
    found = notes({"redis": redis, "gateway": {"workers": 1}})
    assert ("Redis" in found) == (expected is not None)
    assert expected is None or expected in found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("{}", "every pod can, until networkPolicy.clients lists those that may"),
        ("{networkPolicy: {enabled: false}}", "every pod can, because networkPolicy.enabled is false"),
        ("{networkPolicy: {clients: [{podSelector: {}}]}}", "networkPolicy.clients lists the pods that can"),
        ("{gateway: {service: {type: LoadBalancer}}}", "WARNING: gateway.service.type is LoadBalancer"),
        ("{gateway: {service: {type: LoadBalancer}}}", "Set gateway.service.loadBalancerSourceRanges"),
        (
            "{gateway: {service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8, 'fd00::/8']}}}",
            "so that includes anyone who can reach it from 10.0.0.0/8, fd00::/8.",
        ),
        (
            "{gateway: {service: {type: NodePort}}}",
            "so that includes anyone who can reach a node. Put an authenticating proxy in front",
        ),
        (
            "{gateway: {ingress: {enabled: true, host: a.io}, httpRoute: {enabled: true, parentRefs: [{name: b}]}}}",
            "WARNING: so that includes anyone who can reach the gateway's HTTPRoute or the gateway's Ingress, unless",
        ),
        ("{serviceMonitor: {enabled: true}}", "networkPolicy.monitoring is empty: list its namespace there"),
    ],
)
def test_the_notes_say_who_gets_in(values: str, expected: str) -> None:
    found = notes(yaml.safe_load(values))
    assert "The gateway does not authenticate clients" in found
    assert expected in found


def test_the_notes_warn_of_nothing_that_is_as_it_should_be() -> None:
    watched = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"monitoring": [{"namespaceSelector": {}}]}}
    assert "WARNING" not in notes(watched)


def test_keys_for_clients_come_before_the_first_request_and_go_with_it() -> None:
    open_ = ["Add a provider and its key", "Forward a port to the gateway", "Send a request", "See what was done"]
    assert steps(notes({"clientKeys": "Off"})) == steps(notes({"clientKeys": "Optional"})) == open_
    found = notes({"clientKeys": "Required"})
    assert steps(found) == [open_[0], "Make a key for a client", *open_[1:]]
    assert "kubectl -n ai label secret clients limpet.dev/client-keys=true" in found
    assert '-H "authorization: Bearer $LIMPET_KEY"' in found
    assert "authorization:" not in notes({})
    assert [line[0] for line in re.findall(r"^\d+\. ", found, re.MULTILINE)] == list("12345")


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ({}, None),
        (
            {"istio": {"enabled": True}},
            "(mesh.istio.mode=egress) for the hosts of all Providers, in pods with sidecars of every",
        ),
        (
            {"istio": {"enabled": True, "hosts": ["llm.internal"], "exportTo": ["b", "a"]}},
            "of all Providers and llm.internal, in pods with sidecars of a, b.",
        ),
        (
            {
                "istio": {"enabled": True, "mode": "sidecar", "exportTo": ["a"]},
                "sidecars": {"namespaces": ["a", "shop"]},
            },
            "(mesh.istio.mode=sidecar) for the hosts of all Providers, in pods with sidecars of a, shop.",
        ),
        ({"istio": {"hosts": ["llm.internal"]}}, "WARNING: mesh.istio has values, but mesh.istio.enabled is false"),
        ({"istio": {"mode": "sidecar"}}, "WARNING: mesh.istio has values, but mesh.istio.enabled is false"),
    ],
)
def test_it_is_said_what_is_kept_for_a_mesh(mesh: dict[str, Any], said: str | None) -> None:
    found = " ".join(notes({"mesh": mesh}).split())
    assert ("mesh.istio" in found) == (said is not None)
    assert said is None or said in found
    kept = "enabled" in mesh.get("istio", {})
    assert ("kubectl -n ai wait --for=condition=Meshed provider --all" in found) == kept


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("Off", "The gateway does not authenticate clients: anyone who can reach it spends your keys"),
        ("Optional", "The gateway serves clients without a key, too: anyone who can reach it spends your keys"),
        ("Required", ""),
    ],
)
def test_it_is_said_where_nobody_is_authenticated(mode: str, said: str) -> None:
    found = files({"clientKeys": mode})
    assert said in found["limpet/templates/NOTES.txt"]
    assert ("spends your keys" in found["limpet/templates/NOTES.txt"]) is (mode != "Required")
    assert f"--client-keys={mode}" in found["limpet/templates/operator/deployment.yaml"]
