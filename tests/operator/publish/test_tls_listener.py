"""The listener for `https://`: only with a certificate, the same filters, and no word of a mesh believed."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.operator.conftest import Build

from limpet_extproc.contract.envoy import WORKLOAD_KEPT
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import SERVING_SECRET, TLS_LISTENER, EnvoySettings
from limpet_operator.publish.listener import client_listener, tls_listener
from limpet_operator.publish.publication import Publisher, rendered
from limpet_operator.publish.resource import LISTENER, SECRET
from limpet_operator.resources.secret import SecretText
from limpet_operator.resources.serving_certificate import ServingCertificate

GATEWAY = EnvoySettings("::", 10000, ("/run/extproc.sock",), tls_port=10443, tenant_from_workload=True)
CERTIFICATE = ServingCertificate(
    "chain", SecretText("the-private-key"), ("a.example",), datetime(2027, 1, 1, tzinfo=UTC)
)


def manager(listener: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_there_is_one_only_with_a_certificate_and_a_port_and_nothing_else_changes(build: Build) -> None:
    made = build.plan(build.raw("Provider", "one"), build.secret())
    closed = Publisher(GATEWAY).publication(made).resources
    opened = Publisher(GATEWAY).publication(replace(made, certificate=CERTIFICATE)).resources
    assert opened.keys() - closed.keys() == {(LISTENER, TLS_LISTENER), (SECRET, SERVING_SECRET)}
    assert all(opened[key].digest == each.digest for key, each in closed.items())
    without = Publisher(replace(GATEWAY, tls_port=None)).publication(replace(made, certificate=CERTIFICATE)).resources
    assert without.keys() == closed.keys()


def test_a_new_certificate_leaves_the_listener_as_it_is(build: Build) -> None:
    publisher, key = Publisher(GATEWAY), (LISTENER, TLS_LISTENER)
    first = publisher.publication(Plan(certificate=CERTIFICATE)).resources
    second = publisher.publication(Plan(certificate=replace(CERTIFICATE, chain_pem="another"))).resources
    assert first[key] is second[key]
    assert first[SECRET, SERVING_SECRET].body != second[SECRET, SERVING_SECRET].body


def test_its_clients_are_served_by_the_same_filters() -> None:
    plain = replace(GATEWAY, tenant_from_workload=False)
    assert manager(tls_listener(GATEWAY, 10443)) == manager(client_listener(plain))


def test_a_client_that_says_which_workload_it_is_is_not_believed() -> None:
    (mutation,) = manager(tls_listener(GATEWAY, 10443))["early_header_mutation_extensions"]
    appended = [each["append"]["header"]["key"] for each in mutation["typed_config"]["mutations"] if "append" in each]
    assert WORKLOAD_KEPT not in appended
    assert {"remove": WORKLOAD_KEPT} in mutation["typed_config"]["mutations"]
    (mutation,) = manager(client_listener(GATEWAY))["early_header_mutation_extensions"]
    appended = [each["append"]["header"]["key"] for each in mutation["typed_config"]["mutations"] if "append" in each]
    assert WORKLOAD_KEPT in appended


def test_people_are_not_shown_its_key() -> None:
    assert "the-private-key" not in str(list(rendered(Plan(certificate=CERTIFICATE), GATEWAY)))
