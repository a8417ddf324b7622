"""A port of the gateway's Service for `https://`: from the value to the operator's flags, rights and policies."""

from typing import Any

import helm_python
import pytest
import yaml
from tests.chart.rendered import Object, container, files, objects, one, pod
from tests.chart.test_rights import bound_to, granted

from limpet_operator.pod.settings import parse_settings

TLS: dict[str, Any] = {"gateway": {"tls": {"secretName": "gateway-tls", "port": 8443}}}


def flags(found: list[Object]) -> list[str]:
    return [
        flag.replace("$(POD_NAMESPACE)", "ai") for flag in container(pod(found, "limpet-operator"), "operator")["args"]
    ]


def test_its_port_leads_to_the_listener_that_the_operator_makes() -> None:
    found = objects(TLS)
    ports = one(found, "Service", "limpet-gateway")["spec"]["ports"]
    assert ports[1] == {"name": "https", "port": 8443, "targetPort": "https", "appProtocol": "https"}
    settings = parse_settings(flags(found), {})
    assert (settings.own_namespace, settings.serving_secret) == ("ai", "gateway-tls")
    named = {each["name"]: each["containerPort"] for each in container(pod(found, "limpet-gateway"), "envoy")["ports"]}
    assert settings.envoy.tls_port == named["https"]


def test_the_operator_may_read_that_secret_alone_and_write_events_of_it() -> None:
    found = objects({**TLS, "watch": {"namespaces": ["b"]}, "rbac": {"secretNames": ["openai"]}})
    assert granted(bound_to(found, "limpet-operator")["ai", "limpet-operator-serving"]) == {
        ("", "secrets", "gateway-tls"): {"list", "watch"},
        ("events.k8s.io", "events"): {"create", "patch"},
    }


def test_the_same_pods_reach_it_as_the_other_port() -> None:
    peers = [{"podSelector": {"matchLabels": {"app": "shop"}}}]
    policy = one(objects({**TLS, "networkPolicy": {"clients": peers}}), "NetworkPolicy", "limpet-gateway")
    (rule,) = (each for each in policy["spec"]["ingress"] if {"protocol": "TCP", "port": "http"} in each["ports"])
    assert {"protocol": "TCP", "port": "https"} in rule["ports"]


def test_the_objects_that_are_kept_in_a_mesh_know_it() -> None:
    kept = {"mesh": {"istio": {"enabled": True}}}
    for values, port in (({**TLS, **kept}, 8443), (kept, None)):
        mesh = parse_settings(flags(objects(values)), {}).mesh
        assert mesh is not None
        assert mesh.gateway.tls_port == port


def test_without_it_nothing_of_it_is_there() -> None:
    found = objects()
    assert [each["name"] for each in one(found, "Service", "limpet-gateway")["spec"]["ports"]] == ["http"]
    assert parse_settings(flags(found), {}).serving_secret is None
    assert "serving" not in yaml.safe_dump_all(found)
    assert "https://" not in files({})["limpet/templates/NOTES.txt"].partition("Clients of ")[2]


def test_the_notes_say_how_to_make_the_secret_and_where_it_says_what_is_wrong() -> None:
    found = files(TLS)["limpet/templates/NOTES.txt"]
    assert "Clients of https:// are served at port 8443 of service/limpet-gateway" in found
    assert "kubectl -n ai create secret tls gateway-tls --cert=chain.pem --key=key.pem" in found


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ({"secretName": "gateway-tls", "port": 80}, "gateway.tls.port and gateway.service.port are both 80"),
        ({"secretName": "a/b"}, "secretName"),
        ({"secretName": "a", "port": 0}, "port"),
        ({"existingSecret": "a"}, "existingSecret"),
    ],
)
def test_what_makes_no_sense_is_refused(tls: dict[str, Any], message: str) -> None:
    with pytest.raises((helm_python.HelmValuesError, helm_python.HelmRenderError)) as refused:
        files({"gateway": {"tls": tls}})
    assert message in str(refused.value)
