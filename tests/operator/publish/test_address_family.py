"""Which addresses of a provider are taken, by the ways out that a machine has."""

import shutil
import socket
import subprocess
import sys
from typing import get_args

import pytest
from tests.operator.conftest import Build

from limpet_operator.publish.address_family import LookupFamily, lookup_family
from limpet_operator.publish.cluster import provider_cluster
from limpet_operator.publish.envoy_settings import EnvoySettings

BOTH = {socket.AF_INET, socket.AF_INET6}


@pytest.mark.parametrize(
    ("ways", "family"),
    [
        (BOTH, "V4_PREFERRED"),
        ({socket.AF_INET}, "V4_PREFERRED"),
        ({socket.AF_INET6}, "AUTO"),
        (set(), "V4_PREFERRED"),  # Providers on this machine alone.
    ],
)
def test_ipv4_is_preferred_wherever_it_leads_out(ways: set[socket.AddressFamily], family: str) -> None:
    assert lookup_family(lambda each: each in ways) == family


@pytest.mark.parametrize("family", get_args(LookupFamily))
def test_providers_are_looked_up_by_it(build: Build, family: LookupFamily) -> None:
    (provider,) = build.plan(build.raw("Provider"), build.secret()).providers
    gateway = EnvoySettings("::", 10000, ("/run/extproc.sock",), dns_lookup_family=family)
    assert provider_cluster(provider, gateway)["cluster_type"]["typed_config"]["dns_lookup_family"] == family


@pytest.mark.parametrize(
    ("addresses", "family"),
    [
        (["-4 addr add 10.9.9.2/24", "-4 route add default via 10.9.9.1"], "V4_PREFERRED"),
        (["-6 addr add fd09::2/64 nodad", "-6 route add default via fd09::1"], "AUTO"),
    ],
)
@pytest.mark.skipif(shutil.which("unshare") is None or shutil.which("ip") is None, reason="needs util-linux, iproute2")
def test_a_machine_is_seen_as_it_is(addresses: list[str], family: str) -> None:
    address, route = addresses
    script = (
        "ip link add out type veth peer name in && ip link set in up && ip link set lo up && ip link set out up && "
        f"ip {address} dev out && ip {route} dev out && "
        f"exec {sys.executable} -c "
        "'from limpet_operator.publish.address_family import *; print(lookup_family(reaches))'"
    )
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (family, "")
