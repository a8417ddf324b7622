"""The listener of probes: a socket of its own, under a name of its own, and only where it has a place."""

from dataclasses import replace

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Listener

from limpet_operator.planning.plan import Plan
from limpet_operator.publish.bootstrap import pod_bootstrap
from limpet_operator.publish.encode import encode
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.probe_listener import probe_listener
from limpet_operator.publish.publication import common_resources
from limpet_operator.publish.resource import CLUSTER, LISTENER

GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc-0.sock",), probe_socket="/run/probe.sock")


def names(settings: EnvoySettings, type_url: str) -> list[str]:
    return [body["name"] for each, body in common_resources(Plan(), settings) if each == type_url]


def test_it_is_a_unix_socket_for_the_gateways_own_group() -> None:
    listener = Listener().parse(encode(LISTENER, probe_listener("/run/probe.sock")).body)
    assert listener.address is not None
    assert listener.address.pipe is not None
    assert (listener.address.pipe.path, listener.address.pipe.mode) == ("/run/probe.sock", 0o660)


def test_without_a_place_for_it_there_is_none() -> None:
    assert len(names(GATEWAY, LISTENER)) == 2
    assert len(names(replace(GATEWAY, probe_socket=None), LISTENER)) == 1


@pytest.mark.parametrize(("type_url", "static"), [(LISTENER, "listeners"), (CLUSTER, "clusters")])
def test_nothing_that_is_published_has_the_name_of_something_static(type_url: str, static: str) -> None:
    """Envoy acknowledges an update of what is in its bootstrap, and ignores it."""
    fixed = {each["name"] for each in pod_bootstrap("operator", None)["static_resources"][static]}
    assert fixed
    assert not fixed & set(names(GATEWAY, type_url))
