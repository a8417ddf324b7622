"""How long a route waits for its cluster, and a cluster for the end of its routes."""

import math

import pytest
from tests.operator.timeline import Timeline

from limpet_operator.upkeep.settling import Settling
from limpet_operator.upkeep.steps import IstioKey, Step

CLUSTER: IstioKey = ("ServiceEntry", "limpet", "alpha")
ASKING: IstioKey = ("EnvoyFilter", "apps", "workers")
ROUTES: IstioKey = ("EnvoyFilter", "apps", "alpha-routes")
ALL = {
    CLUSTER: Step(0, frozenset({"alpha@apps"}), is_cluster=True),
    ASKING: Step(3, frozenset({"@apps"})),
    ROUTES: Step(5, frozenset({"alpha@apps"})),
}


def before_routes_s(settling: Settling) -> float:
    return settling.before_writing_s(ALL[ROUTES], "@apps", new=True)


@pytest.fixture
def time() -> Timeline:
    return Timeline()


@pytest.fixture
def settling(time: Timeline) -> Settling:
    return Settling(5.0, time.clock)


async def test_a_new_route_waits_from_when_all_that_it_needs_is_there(settling: Settling, time: Timeline) -> None:
    settling.note(ALL, ALL, {})
    assert before_routes_s(settling) == math.inf
    await time.advance(10)
    settling.note(ALL, {ASKING, ROUTES}, {CLUSTER: ALL[CLUSTER]})
    assert before_routes_s(settling) == math.inf
    there = {key: ALL[key] for key in (CLUSTER, ASKING)}
    settling.note(ALL, {ROUTES}, there)
    assert before_routes_s(settling) == 5.0
    await time.advance(3)
    settling.note(ALL, {ROUTES}, there)
    assert before_routes_s(settling) == 2.0
    # It was there, and is missing for a moment: sidecars begin anew.
    settling.note(ALL, {CLUSTER, ROUTES}, {ASKING: ALL[ASKING]})
    settling.note(ALL, {ROUTES}, there)
    assert before_routes_s(settling) == 5.0
    await time.advance(9)
    assert before_routes_s(settling) <= 0.0


def test_a_route_that_only_changes_waits_for_nothing(settling: Settling) -> None:
    settling.note(ALL, {ROUTES}, ALL)
    assert settling.before_writing_s(ALL[ROUTES], "@apps", new=False) == 0.0


async def test_a_cluster_goes_some_time_after_what_leads_there(settling: Settling, time: Timeline) -> None:
    settling.note({}, (), ALL)
    assert settling.before_removing_s(ALL[CLUSTER]) == math.inf
    assert settling.before_removing_s(ALL[ROUTES]) == 0.0
    await time.advance(60)
    without = {key: ALL[key] for key in (CLUSTER, ASKING)}
    settling.note({}, (), without)
    assert settling.before_removing_s(ALL[CLUSTER]) == 5.0
    await time.advance(4)
    settling.note({}, (), without)
    assert settling.before_removing_s(ALL[CLUSTER]) == 1.0


def test_one_that_makes_room_for_somebody_elses_while_routes_are_wanted_does_not_wait(settling: Settling) -> None:
    settling.note({ROUTES: ALL[ROUTES]}, (), ALL)
    assert settling.before_removing_s(ALL[CLUSTER]) == 0.0


async def test_after_another_replica_has_written_all_waits_begin_anew(settling: Settling, time: Timeline) -> None:
    settling.note(ALL, {ROUTES}, {})
    await time.advance(60)
    settling.forget()
    settling.note(ALL, {ROUTES}, {})
    assert before_routes_s(settling) == 5.0


async def test_filters_of_another_provider_that_are_not_taken_hold_up_no_route(
    settling: Settling, time: Timeline
) -> None:
    refused: IstioKey = ("EnvoyFilter", "apps", "beta")
    wanted = {**ALL, refused: Step(4, frozenset({"beta@apps", "@apps"}), is_cluster=True)}
    there = {key: ALL[key] for key in (CLUSTER, ASKING)}
    settling.note(wanted, {ROUTES, refused}, there)
    await time.advance(5)
    settling.note(wanted, {ROUTES, refused}, there)
    assert before_routes_s(settling) == 0.0


async def test_a_program_goes_when_nothing_has_been_left_to_write_for_some_time(
    settling: Settling, time: Timeline
) -> None:
    program = Step(3, frozenset({"@apps"}))
    settling.note(ALL, {ROUTES}, ALL)
    assert settling.before_removing_s(program) == math.inf
    settling.note(ALL, (), ALL)
    assert settling.before_removing_s(program) == 5.0
    await time.advance(5)
    settling.note(ALL, (), ALL)
    assert settling.before_removing_s(program) <= 0.0


def test_a_route_for_more_hosts_waits_until_sidecars_are_told_to_ask_about_them(settling: Settling) -> None:
    settling.note(ALL, {ASKING, ROUTES}, ALL)
    assert settling.before_writing_s(ALL[ROUTES], "@apps", new=False) == math.inf
    settling.note(ALL, {ROUTES}, ALL)
    assert settling.before_writing_s(ALL[ROUTES], "@apps", new=False) == 0.0
