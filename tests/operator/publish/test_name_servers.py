"""Whom Envoy asks for the addresses of providers' names."""

from tests.operator.conftest import Build

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.publish.cluster import provider_cluster
from limpet_operator.publish.encode import encode
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.resource import CLUSTER


def test_name_servers_that_are_given_are_asked_in_place_of_the_machines(build: Build) -> None:
    (provider,) = build.plan(build.raw("Provider"), build.secret()).providers
    servers = (HostPort("10.0.0.53", 53), HostPort("fd00::53", 5353))
    gateway = EnvoySettings("::", 10000, ("/run/extproc.sock",), dns_servers=servers)
    cluster = provider_cluster(provider, gateway)
    resolver = cluster["cluster_type"]["typed_config"]["typed_dns_resolver_config"]["typed_config"]
    addresses = [each["socket_address"] for each in resolver["resolvers"]]
    assert [(each["protocol"], each["address"], each["port_value"]) for each in addresses] == [
        ("UDP", "10.0.0.53", 53),
        ("UDP", "fd00::53", 5353),
    ]
    assert encode(CLUSTER, cluster).name == provider.name


def test_without_any_the_machines_own_are_asked(build: Build) -> None:
    (provider,) = build.plan(build.raw("Provider"), build.secret()).providers
    cluster = provider_cluster(provider, EnvoySettings("::", 10000, ("/run/extproc.sock",)))
    assert "typed_dns_resolver_config" not in cluster["cluster_type"]["typed_config"]
