"""One Envoy, perhaps claimed by several replicas, is one state."""

from limpet_operator.fleet.view import GatewayState, merged


def test_each_envoy_is_counted_once_and_its_refusals_are_kept() -> None:
    z, stale = GatewayState("z", {"a": "1"}, {}), GatewayState("e", {"a": "1", "b": "1"}, {})
    now = GatewayState("e", {"a": "1"}, {"b": "no such file"})
    assert merged([z, stale, now]) == [GatewayState("e", {"a": "1"}, {"b": "no such file"}), z]
    assert merged([z])[0] is z
