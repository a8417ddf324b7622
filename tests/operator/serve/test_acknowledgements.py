"""What an Envoy has and refuses, by its own reports and by those of other replicas."""

import pytest

from limpet_operator.publish.resource import CLUSTER, SECRET
from limpet_operator.serve.acknowledgements import Acknowledgements, Nack, VersionReport, in_common

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


def acks(**clusters: str) -> Acknowledgements:
    """An Envoy called e is connected and has these."""
    acks = Acknowledgements()
    acks.stream_opened("e")
    acks.record("e", VersionReport(CLUSTER, had={}))
    acks.record("e", VersionReport(CLUSTER, accepted=clusters, to_response=True))
    return acks


def test_what_an_envoy_acknowledged_outlives_its_stream_and_not_its_process() -> None:
    envoy = acks(a="1")
    envoy.stream_closed("e")
    assert not envoy.connected("e")
    assert envoy.clusters("e") == {"a"}
    envoy.stream_opened("e")
    envoy.record("e", VersionReport(CLUSTER, had={"a": "1", "b": "1"}))
    assert envoy.clusters("e") == {"a", "b"}
    envoy.record("e", VersionReport(CLUSTER, had={}))
    assert envoy.clusters("e") is None, "a new process has nothing, and is unknown until it acknowledges something"


def test_a_removal_counts_from_when_it_is_sent() -> None:
    envoy = acks(a="1", b="1")
    envoy.withdraw("e", CLUSTER, ["a"])
    assert envoy.clusters("e") == {"b"}
    envoy.record("e", VersionReport(CLUSTER, accepted={"a": ""}, to_response=True))
    assert envoy.clusters("e") == {"b"}


def test_a_refusal_lasts_until_another_version_is_accepted() -> None:
    envoy = acks(a="1")
    nack = Nack("e", SECRET, "s", "2", "no")
    refusal = VersionReport(SECRET, rejected={"s": "2"}, message="no", to_response=True)
    assert envoy.record("e", refusal) == [nack]
    assert envoy.refused("e") == {(SECRET, "s"): nack}
    assert envoy.record("e", VersionReport(SECRET, accepted={"s": "3"}, to_response=True)) == []
    assert envoy.refused("e") == {}


@pytest.mark.parametrize(
    ("connected", "claims", "clusters"),
    [
        (True, [], {"a", "b"}),
        (True, [{"a": "1"}], {"a"}),
        (False, [{"a": "1", "c": "1"}], {"a", "c"}),  # an open stream elsewhere counts more than a broken one here
        (False, [], {"a", "b"}),
    ],
)
def test_open_streams_count(connected: bool, claims: list[dict[str, str]], clusters: set[str]) -> None:
    envoy = acks(a="1", b="1")
    if not connected:
        envoy.stream_closed("e")
    assert envoy.clusters("e", claims) == clusters


def test_an_envoy_without_reports_is_unknown() -> None:
    assert Acknowledgements().clusters("e") is None
    assert Acknowledgements().clusters("e", [{"a": "1"}]) == {"a"}


def test_those_that_left_first_are_forgotten_first() -> None:
    acks = Acknowledgements()
    for number in range(300):
        acks.stream_opened(str(number))
        acks.stream_closed(str(number))
    assert [acks.acknowledged(name) is None for name in ("0", "43", "44", "299")] == [True, True, False, False]
