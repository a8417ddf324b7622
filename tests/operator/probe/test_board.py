"""What the probes have found, through changes of probes and providers."""

from typing import Any

from tests.operator.conftest import Build

from limpet_extproc.contract.health_stream import Probed
from limpet_operator.planning.plan import Plan
from limpet_operator.probe.board import Board, noteworthy, replanned, results, verdicts, with_outcome
from limpet_operator.probe.outcome import Outcome
from limpet_operator.probe.schedule import Pair
from limpet_operator.resources.problem import ObjectKey

ALL = ObjectKey("HealthProbe", "default", "all")
PAIR = Pair(ALL, "a")
REFUSED = Outcome("Down", "CredentialRefused", 401, "wrong key")
UP = Outcome("Up", status=200)


def _planned(build: Build, *raws: Any) -> Plan:
    return build.plan(*raws, build.raw("Provider", "a", credential=None))


def _board(plan: Plan, board: Board | None = None) -> tuple[Board, set[Pair]]:
    providers = {provider.name: provider for provider in plan.providers}
    after, changed = replanned(board or Board(), plan.probes, providers)
    return after, set(changed)


def _after(board: Board, *outcomes: Outcome, pair: Pair = PAIR) -> Board:
    for number, outcome in enumerate(outcomes, 1):
        board = with_outcome(board, pair, board.pairs[pair], outcome, float(number))
    return board


def _verdict(board: Board, pair: Pair = PAIR) -> str | None:
    return board.pairs[pair].standing.verdict


def test_an_interval_may_change_without_a_verdict_being_lost(build: Build) -> None:
    board, changed = _board(_planned(build, build.raw("HealthProbe", "all")))
    assert changed == {PAIR}
    board = _after(board, REFUSED, REFUSED, REFUSED)
    board, changed = _board(_planned(build, build.raw("HealthProbe", "all", interval="10s", timeout="4s")), board)
    assert changed == {PAIR}, "a timeout decides whether there is an answer"
    assert _verdict(board) == "Down"
    assert not board.pairs[PAIR].standing.settled
    board, changed = _board(_planned(build, build.raw("HealthProbe", "all", interval="20s", timeout="4s")), board)
    assert not changed
    assert board.intervals_s() == {PAIR: 20.0}


def test_whatever_changes_all_the_time_a_dead_provider_is_found(build: Build) -> None:
    board, _ = _board(_planned(build, build.raw("HealthProbe", "all")))
    board = _after(board, UP)
    for interval in ("10s", "20s", "30s"):
        probe = build.raw("HealthProbe", "all", interval=interval, thresholds={"failuresToDown": 3})
        provider = build.raw("Provider", "a", credential=None, weight=len(interval))
        board = _after(_board(build.plan(probe, provider), board)[0], REFUSED)
    assert _verdict(board) == "Down"


def test_another_question_begins_anew_and_answers_to_the_old_one_do_not_count(build: Build) -> None:
    board, _ = _board(_planned(build, build.raw("HealthProbe", "all")))
    board = _after(board, REFUSED, REFUSED, REFUSED)
    asked_before = board.pairs[PAIR]
    other, _ = _board(_planned(build, build.raw("HealthProbe", "all", http={"path": "/health"})), board)
    assert _verdict(other) is None
    assert with_outcome(other, PAIR, asked_before, UP, 9.0) is other
    assert with_outcome(Board(), PAIR, asked_before, UP, 9.0) == Board()


def test_a_path_that_does_not_exist_is_shown_as_it_was_asked_for(build: Build) -> None:
    probe = build.raw("HealthProbe", "all", http={"path": "/v1/models"})
    board, _ = _board(build.plan(probe, build.raw("Provider", "a", url="http://a.example/v1", credential=None)))
    (result,) = results(_after(board, UP))[ALL]
    assert result.rejected == ""
    (result,) = results(_after(board, Outcome(None, "UnusableStatus", 404)))[ALL]
    assert (result.rejected, result.verdict, result.status) == ("GET /v1/v1/models", None, 404)


def test_a_plan_with_the_same_objects_changes_nothing(build: Build) -> None:
    plan = _planned(build, build.raw("HealthProbe", "all"))
    board = _after(_board(plan)[0], UP)
    again, changed = _board(plan, board)
    assert again.pairs == board.pairs
    assert not changed


def test_each_probe_has_a_result_for_each_of_its_providers(build: Build) -> None:
    plan = _planned(build, build.raw("HealthProbe", "all"), build.raw("Provider", "b", credential=None))
    board = _after(_board(plan)[0], REFUSED, REFUSED, REFUSED, Outcome(None, not_sent="nobody is there"))
    (found, unknown) = results(board)[ALL]
    assert (found.provider, found.verdict, found.cause, found.since_s) == ("a", "Down", "CredentialRefused", 3.0)
    assert (found.message, found.last_s, found.not_sent) == ("wrong key", 4.0, "nobody is there")
    assert (unknown.provider, unknown.verdict, unknown.last_s) == ("b", None, 0.0)


def test_one_more_answer_of_the_same_kind_is_nothing_to_report(build: Build) -> None:
    board = _after(_board(_planned(build, build.raw("HealthProbe", "all")))[0], UP)
    assert set(noteworthy(results(_after(board, UP)))) == set(noteworthy(results(board)))
    assert verdicts(_after(board, UP)) == verdicts(board)
    down = _after(board, REFUSED, REFUSED, REFUSED)
    assert set(noteworthy(results(down))) != set(noteworthy(results(board)))


def test_inherited_verdicts_stand_for_a_provider_until_its_own_probes_have_settled(build: Build) -> None:
    plan = _planned(build, build.raw("HealthProbe", "all"))
    inherited = (Probed("a", "Down", "Timeout", 5.0), Probed("gone", "Down"), Probed("a", "Limited", model="m"))
    board, _ = _board(plan)
    assert verdicts(board, inherited) == (inherited[0], inherited[2])
    (up,) = verdicts(_after(board, UP), inherited)
    assert (up.provider, up.verdict) == ("a", "Up")
