"""An object is written after what it depends on, and removed before it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_object import IstioObject, istio_object
from limpet_operator.upkeep.steps import Step, next_steps, step_of, step_of_raw

GATEWAY, APPS = MeshGateway(), ("one", "two")
CLUSTER = "alpha.team.providers.limpet.internal"
ENTRY, RULE, ROUTE, FILTER = (
    (kind, "limpet", "a") for kind in ("ServiceEntry", "DestinationRule", "VirtualService", "EnvoyFilter")
)
OTHER = ("VirtualService", "limpet", "b")


def step(rank: int, *subjects: str) -> Step:
    return Step(rank, frozenset(subjects))


def made(
    kind: str, about: str, spec: Any, *providers: str, namespace: str = "", number: int = 1, gateway: Any = GATEWAY
) -> IstioObject:
    return istio_object(gateway, kind, about, "", spec, providers, namespace, number)


ALL = {
    "host entry": made("ServiceEntry", "h", {"hosts": ["h.example"]}, "team/alpha", "team/beta"),
    "host route": made("VirtualService", "h", {"hosts": ["h.example"]}, "team/alpha", "team/beta"),
    "entry": made("ServiceEntry", "c", {"hosts": [CLUSTER]}, "team/alpha"),
    "rule": made("DestinationRule", "c", {"host": CLUSTER}, "team/alpha"),
    "workers rule": made("DestinationRule", "w", {"host": GATEWAY.workers_host}),
    **{f"asking {ns}": made("EnvoyFilter", "workers", {}, namespace=ns) for ns in APPS},
    **{f"filters {ns}": made("EnvoyFilter", "c", {}, "team/alpha", namespace=ns) for ns in APPS},
    **{f"routes {ns}": made("EnvoyFilter", "c-routes", {}, "team/alpha", namespace=ns, number=2) for ns in APPS},
}


def turns(steps: dict[str, Step], *, removing: bool) -> list[set[str]]:
    """What comes together, one after the other."""
    left, found = {("", "", name): each for name, each in steps.items()}, []
    while left:
        first = next_steps({}, left) if removing else next_steps(left, {})
        assert first
        found.append({name for _, _, name in first})
        left = {key: each for key, each in left.items() if key not in first}
    return found


def test_what_shares_a_host_or_a_provider_is_written_in_order_and_nothing_else_waits() -> None:
    wanted = {
        FILTER: step(3, "alpha"),
        ROUTE: step(2, "alpha", "a.example"),
        ENTRY: step(0, "a.example"),
        OTHER: step(2, "b.example"),
    }
    assert next_steps(wanted, {}) == {ENTRY, OTHER}
    del wanted[ENTRY]
    assert next_steps(wanted, {}) == {ROUTE, OTHER}
    del wanted[ROUTE]
    assert next_steps(wanted, {}) == {FILTER, OTHER}


def test_it_is_removed_in_reverse() -> None:
    wanted = {ENTRY: step(0, "alpha"), RULE: step(1, "alpha"), FILTER: step(3, "alpha"), OTHER: step(2, "beta")}
    assert next_steps({}, wanted) == {FILTER, OTHER}
    assert next_steps({}, {ENTRY: step(0, "alpha"), RULE: step(1, "alpha")}) == {RULE}


def test_what_is_about_nothing_in_particular_waits_for_nothing() -> None:
    assert next_steps({ENTRY: step(0, "alpha"), FILTER: step(3)}, {}) == {ENTRY, FILTER}


def test_clusters_come_before_their_filters_and_these_before_routes_in_each_namespace() -> None:
    steps = {name: step_of(each, APPS) for name, each in ALL.items()}
    asking = {f"asking {ns}" for ns in APPS}
    filters, routes = ({f"{what} {ns}" for ns in APPS} for what in ("filters", "routes"))
    assert turns(steps, removing=False) == [
        {"host entry", "entry", "workers rule"} | asking,
        {"host route", "rule"},
        filters,
        routes,
    ]
    assert turns({name: each for name, each in steps.items() if name not in asking}, removing=True) == [
        {"host route", "workers rule"} | routes,
        {"host entry"} | filters,
        {"rule"},
        {"entry"},
    ]


def test_one_namespace_does_not_wait_for_another() -> None:
    steps = {name: step_of(ALL[name], APPS) for name in ("filters one", "routes one", "routes two")}
    assert turns(steps, removing=False)[0] == {"filters one", "routes two"}


@pytest.mark.parametrize("name", ALL)
def test_an_object_of_the_cluster_is_about_the_same_as_what_was_written(name: str) -> None:
    raw = {**ALL[name].body(), "kind": ALL[name].kind}
    assert step_of_raw(raw, APPS) == step_of(ALL[name], APPS)


@given(st.dictionaries(st.sampled_from(sorted(ALL)), st.just(None)), st.booleans())
def test_every_order_ends(chosen: dict[str, None], removing: bool) -> None:
    steps = {name: step_of(ALL[name], APPS) for name in chosen}
    assert set().union(*turns(steps, removing=removing)) == set(chosen)
