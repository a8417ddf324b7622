"""One Envoy, perhaps claimed by several replicas: what it certainly has."""

import pytest

from limpet_operator.fleet.view import GatewayState, merged
from limpet_operator.serve.acknowledgements import in_common

CLAIMS: list[tuple[str, list[dict[str, str]], dict[str, str]]] = [
    ("one replica's word is taken", [{"a": "1", "b": "2"}], {"a": "1", "b": "2"}),
    ("what only one of them knows of does not count", [{"a": "1", "b": "2"}, {"a": "1"}], {"a": "1"}),
    ("in which version it has it is not known", [{"a": "1"}, {"a": "2"}], {"a": ""}),
    ("three replicas", [{"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"b": "1"}], {"b": "1"}),
    ("an Envoy without anything", [{}, {"a": "1"}], {}),
]


@pytest.mark.parametrize(("claims", "common"), [case[1:] for case in CLAIMS], ids=[case[0] for case in CLAIMS])
def test_what_replicas_agree_upon(claims: list[dict[str, str]], common: dict[str, str]) -> None:
    assert in_common(claims) == common
    assert in_common(reversed(claims)) == common


def test_each_envoy_is_counted_once_and_its_refusals_are_kept() -> None:
    z, stale = GatewayState("z", {"a": "1"}, {}), GatewayState("e", {"a": "1", "b": "1"}, {})
    now = GatewayState("e", {"a": "1"}, {"b": "no such file"})
    assert merged([z, stale, now]) == [GatewayState("e", {"a": "1"}, {"b": "no such file"}), z]
    assert merged([z])[0] is z
