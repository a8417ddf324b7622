"""Where keys are required: no route leads to a provider but those of decisions by a worker that has checked one."""

from dataclasses import replace
from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_extproc.contract.catalog import NO_KEYS
from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_extproc.contract.envoy import DECISION_CLIENT, DECISION_METADATA
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.catalog import catalog
from limpet_operator.publish.encode import encode
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.listener import client_listener
from limpet_operator.publish.resource import LISTENER, ROUTE
from limpet_operator.publish.route import route_configuration

GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))


@pytest.fixture
def planned(build: Build) -> Plan:
    endpoints = ["embeddings", "files", "batches"]
    labelled = build.secret("clients", laptop="lpk-0123456789abcdef")
    labelled["metadata"]["labels"] = {"limpet.dev/client-keys": "true"}
    return build.plan(build.raw("Provider", endpoints=endpoints), build.secret(), labelled)


def _routes(planned: Plan, settings: EnvoySettings) -> list[dict[str, Any]]:
    configuration = route_configuration(planned.providers, settings)
    encode(ROUTE, configuration)
    return [route for host in configuration["virtual_hosts"] for route in host["routes"]]


def _is_checked(route: dict[str, Any]) -> bool:
    wanted = {"filter": DECISION_METADATA, "path": [{"key": DECISION_CLIENT}], "value": {"bool_match": True}}
    return wanted in route["match"].get("dynamic_metadata", ())


@pytest.mark.parametrize("header_mode", [False, True])
@pytest.mark.parametrize("origins", [(), ("https://chat.example",)])
def test_every_route_to_a_provider_needs_the_mark(planned: Plan, header_mode: bool, origins: tuple[str, ...]) -> None:
    settings = replace(GATEWAY, header_mode=header_mode, cors_origins=origins, client_keys="Required")
    encode(LISTENER, client_listener(settings))
    leading = [route for route in _routes(planned, settings) if "route" in route]
    assert leading
    assert all(_is_checked(route) for route in leading)


@pytest.mark.parametrize("mode", ["Off", "Optional"])
def test_where_strangers_are_served_nothing_waits_for_the_mark(planned: Plan, mode: ClientKeysMode) -> None:
    settings = replace(GATEWAY, client_keys=mode)
    assert _routes(planned, settings) == _routes(planned, GATEWAY)
    assert client_listener(settings) == client_listener(GATEWAY)


def test_a_gateway_that_looks_at_no_keys_is_sent_none(planned: Plan) -> None:
    assert catalog(planned, "Off").client_keys == NO_KEYS
    for mode in ("Optional", "Required"):
        sent = catalog(planned, mode).client_keys
        assert (sent.mode, [key.name for key in sent.keys]) == (mode, ["laptop"])
