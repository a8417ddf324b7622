"""Somebody else's objects for a host of ours: theirs stay, and what is left out is said."""

from typing import Any

import pytest
from tests.operator.conftest import Build
from tests.operator.mesh.test_istio_egress import provider

from limpet_operator.mesh.conflicts import Settled, settled
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects

GATEWAY = MeshGateway()
HOST = "api.deepseek.com"


def theirs(kind: str = "VirtualService", namespace: str = "team", labels: Any = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "theirs", "namespace": namespace, "labels": labels or {}}
    return {"kind": kind, "metadata": metadata, "spec": {"hosts": [HOST], **spec}}


@pytest.fixture
def beside(build: Build) -> Any:
    """What is left of the objects for two hosts beside an object of somebody else."""
    other = provider(build, "other", url="https://other.example/v1")

    def settle(raw: dict[str, Any], gateway: MeshGateway = GATEWAY) -> Settled:
        return settled(egress_objects([provider(build), other], (), gateway).objects, [raw], gateway)

    return settle


def kinds(found: Settled, host: str = HOST) -> list[str]:
    return [each.kind for each in found.objects if host in each.spec["hosts"]]


BOTH = ["ServiceEntry", "VirtualService"]


@pytest.mark.parametrize("host", [HOST, "API.DeepSeek.com", f"{HOST}."])
def test_a_host_that_somebody_routes_is_left_to_them(beside: Any, host: str) -> None:
    found = beside(theirs(hosts=["x.example", host]))
    assert kinds(found) == []
    assert kinds(found, "other.example") == BOTH
    (conflict,) = found.conflicts
    assert (conflict.host, conflict.theirs, conflict.providers) == (HOST, "team/theirs", ("deepseek",))
    assert "VirtualService team/theirs routes it already, so nothing is written for it" in str(conflict)


@pytest.mark.parametrize(
    "other",
    [
        theirs(gateways=["istio-system/ingress"]),
        theirs(hosts=["x.example"]),
        theirs(exportTo=["."]) | {"metadata": {"name": "theirs", "namespace": "elsewhere"}},
        {"kind": "VirtualService", "metadata": {"name": "empty"}},
    ],
    ids=["of a gateway", "of another host", "that ours are not seen beside", "without a spec"],
)
def test_what_is_about_something_else_is_no_conflict(beside: Any, other: dict[str, Any]) -> None:
    found = beside(other, MeshGateway(export_to=("app",)))
    assert kinds(found) == BOTH
    assert found.conflicts == ()


@pytest.mark.parametrize(
    ("export_to", "namespaces", "conflicts"),
    [(["*"], ("app",), 1), (["app"], ("app",), 1), (["."], ("team",), 1), (["app"], ("b",), 0), (["x"], ("*",), 1)],
)
def test_only_what_some_namespace_sees_twice_is_a_conflict(
    beside: Any, export_to: list[str], namespaces: tuple[str, ...], conflicts: int
) -> None:
    found = beside(theirs(exportTo=export_to), MeshGateway(export_to=namespaces))
    assert len(found.conflicts) == conflicts


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("namespaces", [("*",), ("*", "apps")])
def test_who_may_write_in_one_namespace_alone_takes_no_host_from_the_others(
    beside: Any, kind: str, namespaces: tuple[str, ...]
) -> None:
    for export_to in (["."], ["team"]):
        found = beside(theirs(kind, exportTo=export_to, ports=[]), MeshGateway(export_to=namespaces))
        assert (kinds(found), found.conflicts) == (BOTH, ())
        assert [note for note in found.notes if f"{kind} team/theirs is about {HOST}, too, and counts in" in note]


@pytest.mark.parametrize("namespaces", [("*", "team"), ("team", "b")])
def test_where_it_was_to_count_a_route_for_one_namespace_is_a_conflict(
    beside: Any, namespaces: tuple[str, ...]
) -> None:
    assert len(beside(theirs(exportTo=["."]), MeshGateway(export_to=namespaces)).conflicts) == 1
    assert len(beside(theirs(namespace="limpet", exportTo=["."]), MeshGateway()).conflicts) == 1


def test_an_entry_that_some_do_not_see_leaves_ours_to_them(beside: Any) -> None:
    entry = theirs("ServiceEntry", exportTo=["."], ports=[])
    assert kinds(beside(entry, MeshGateway(export_to=("team", "b")))) == BOTH
    assert kinds(beside({**entry, "spec": {**entry["spec"], "exportTo": ["*"]}})) == ["VirtualService"]


def test_our_own_of_before_are_replaced_but_not_another_gateways(beside: Any) -> None:
    labels = {"app.kubernetes.io/managed-by": "limpet", "limpet.dev/gateway": GATEWAY.label}
    assert beside(theirs(namespace="limpet", labels=labels)).conflicts == ()
    foreign = {**labels, "limpet.dev/gateway": "other.limpet-gateway"}
    assert len(beside(theirs(namespace="limpet", labels=foreign)).conflicts) == 1


def test_a_host_that_somebody_made_known_is_routed_by_theirs(beside: Any) -> None:
    ports = [{"number": 443, "protocol": "HTTPS"}, {"number": 80, "protocol": "HTTP"}]
    found = beside(theirs("ServiceEntry", ports=ports))
    assert kinds(found) == ["VirtualService"]
    assert [conflict.message for conflict in found.conflicts] == [
        "ServiceEntry team/theirs makes it known already and is used as it is"
    ]


def test_a_port_that_theirs_lacks_is_named(beside: Any) -> None:
    (conflict,) = beside(theirs("ServiceEntry", ports=[{"number": 443, "protocol": "TLS"}])).conflicts
    assert conflict.message.endswith("it lacks port 80 (HTTP), whose requests so stay as they are")


def test_a_pattern_of_theirs_gives_way_and_that_is_said(beside: Any) -> None:
    found = beside(theirs(hosts=["*.deepseek.com"]))
    assert kinds(found) == BOTH
    assert [note.split(" and ")[0] for note in found.notes] == ["VirtualService team/theirs routes *.deepseek.com"]
