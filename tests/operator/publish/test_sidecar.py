"""What sidecars are told: messages that Envoy knows, our own gateway's where they can be, and no secrets."""

import json
from typing import Any

import pytest
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.grpc_credential.v3 import file_based_metadata_pb2  # noqa: F401 (registers its type)
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format
from tests.operator.conftest import Build

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.attempt_filters import ATTEMPT_LUA, attempt_filters
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.lua import without_comments
from limpet_operator.publish.sidecar import (
    SidecarSettings,
    access_log,
    cluster_patch,
    http_filters,
    provider_route,
    route_configuration_patch,
    virtual_host_patch,
    workers_cluster_patch,
)

GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))
SIDECARS = SidecarSettings(
    workers_cluster="outbound|9443||limpet-workers.limpet.svc.cluster.local",
    workers_name="limpet-gateway.limpet.svc",
    credentials=HostPort("limpet-operator.limpet.svc", 18001),
    credentials_name="limpet-operator.limpet.svc",
    ca_pem="-----BEGIN CERTIFICATE-----",
    cluster_names="outbound|80||{name}.{namespace}.providers.limpet.internal",
)


@pytest.fixture
def made(build: Build) -> Plan:
    found: Plan = build.plan(build.raw("Provider", "one"), build.raw("Provider", "two"), build.secret())
    assert [provider.name for provider in found.providers] == ["one", "two"]
    return found


def chain(patch: dict[str, Any]) -> list[dict[str, Any]]:
    (options,) = patch["typed_extension_protocol_options"].values()
    filters: list[dict[str, Any]] = options["http_filters"]
    return filters


def test_every_part_is_one_that_envoy_knows(made: Plan) -> None:
    for provider in made.providers:
        json_format.ParseDict(cluster_patch(provider, SIDECARS), cluster_pb2.Cluster())
    json_format.ParseDict(workers_cluster_patch(SIDECARS), cluster_pb2.Cluster())
    json_format.ParseDict(provider_route(GATEWAY, "c"), route_components_pb2.Route())
    json_format.ParseDict({**virtual_host_patch(GATEWAY), "name": "h"}, route_components_pb2.VirtualHost())
    json_format.ParseDict({**route_configuration_patch(), "name": "80"}, route_pb2.RouteConfiguration())
    json_format.ParseDict(access_log(SIDECARS), accesslog_pb2.AccessLog())
    for each in http_filters(GATEWAY, SIDECARS):
        json_format.ParseDict(each, hcm_pb2.HttpFilter())


def test_each_filter_is_off_but_where_the_virtual_host_switches_it_on() -> None:
    filters = http_filters(GATEWAY, SIDECARS)
    assert all(each["disabled"] is True for each in filters)
    assert [each["name"] for each in filters] == list(virtual_host_patch(GATEWAY)["typed_per_filter_config"])


def test_an_attempt_passes_what_it_passes_in_our_gateway(made: Plan) -> None:
    """Only where the secrets come from differs."""
    for provider in made.providers:
        ours, theirs = attempt_filters(provider, GATEWAY), chain(cluster_patch(provider, SIDECARS))
        for our, their in zip(ours, theirs, strict=True):
            if our["name"].endswith("credential_injector"):
                secrets = [each["typed_config"]["credential"]["typed_config"]["credential"] for each in (our, their)]
                assert secrets[0].pop("sds_config") != secrets[1].pop("sds_config")
            assert our == their


def test_a_provider_is_small_and_the_program_is_given_once(made: Plan) -> None:
    assert len(json.dumps(cluster_patch(made.providers[0], SIDECARS))) < 12_000
    assert len(json.dumps(route_configuration_patch())) > 60_000


def test_nothing_that_is_told_has_a_secret(made: Plan) -> None:
    told = json.dumps([cluster_patch(provider, SIDECARS) for provider in made.providers])
    keys = [key for provider in made.providers for key in provider.keys()]  # noqa: SIM118 (no mapping)
    assert keys
    assert not [key for key in keys if key in told]


@pytest.mark.parametrize("client_keys", ["Off", "Required"])
def test_no_client_can_write_what_the_route_to_a_provider_demands(client_keys: Any) -> None:
    gateway = EnvoySettings("127.0.0.1", 10000, (), client_keys=client_keys)
    match = provider_route(gateway, "outbound|80||one")["match"]
    assert match["headers"] == [{"name": "x-limpet-cluster", "string_match": {"exact": "outbound|80||one"}}]
    demanded = [each["path"][0]["key"] for each in match["dynamic_metadata"]]
    assert demanded == (["reason", "client"] if client_keys == "Required" else ["reason"])


def test_a_program_without_its_comments_is_a_quarter_shorter_and_loses_no_code() -> None:
    short = without_comments(ATTEMPT_LUA)
    assert len(short) < 0.8 * len(ATTEMPT_LUA)
    assert not [line for line in short.splitlines() if not line or line.startswith((" ", "--"))]
    code = [line.strip() for line in ATTEMPT_LUA.splitlines() if line.strip() and not line.strip().startswith("--")]
    assert short.splitlines() == code
