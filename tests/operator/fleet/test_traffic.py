"""When a provider is down for the whole installation, and since when: from the words of single workers."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from limpet_extproc.contract.catalog import SKETCH_REGISTERS, CacheUse, Evidence, ModelEvidence, Trouble
from limpet_operator.fleet.traffic import NOTHING, joined, summary, traffic_from
from limpet_operator.fleet.view import Traffic, TrafficState

T = 10_000.0
UNUSED = CacheUse()


def up(success_s: float = T, since_s: float = T - 500, cache: CacheUse = UNUSED) -> Evidence:
    return Evidence(success_s, since_s=since_s, cache=cache)


def out(since_s: float = T, failure_s: float = 0.0, success_s: float = 0.0, limited: bool = False) -> Evidence:
    return Evidence(success_s, failure_s or since_s, "over_limit" if limited else "down", since_s)


def refused(cause: str, status: int, at_s: float) -> Evidence:
    return Evidence(T - 9, since_s=T - 500, cause=cause, status=status, message="no", cause_s=at_s)


def slow(since_s: float = T, cause: str = "SlowFirstByte") -> Evidence:
    return Evidence(T, trouble="degraded", since_s=since_s, cause=cause)


def state(trouble: Trouble | None, since_s: float, cause: str = "", status: int = 0, message: str = "") -> TrafficState:
    return TrafficState(trouble, since_s, cause, status, message)


UP = state(None, T - 500)
CASES: list[tuple[str, list[Evidence], TrafficState | None]] = [
    ("no evidence", [], None),
    ("neither an answer nor a failure", [up(0.0)], None),
    ("one gets answers", [up()], UP),
    ("since the first that has it up now", [up(since_s=T - 9), up(since_s=T - 99)], state(None, T - 99)),
    ("one has it out and no other has tried it", [out()], state("down", T)),
    ("the others' answers are older", [out(), up(T - 1)], state("down", T)),
    ("another got an answer since", [out(), up(T + 1)], UP),
    ("an answer between two outages", [out(), up(T + 1), out(T + 2)], state("down", T)),
    ("one worker's trials against fresh answers", [out(T - 300, T), up(T - 5)], UP),
    ("against an answer of long ago", [out(T - 300, T), up(T - 40)], state("down", T - 300)),
    ("all were limited", [out(limited=True), out(T + 1, limited=True)], state("over_limit", T)),
    ("the newest reason counts", [out(limited=True), out(T + 1)], state("down", T)),
    ("its own answers before that do not count", [out(success_s=T - 0.1)], state("down", T)),
    ("one finds it slow, and answers are no objection", [slow(), up(T + 9)], state("degraded", T, "SlowFirstByte")),
    ("slow since the first that found it so", [slow(T - 9), slow()], state("degraded", T - 9, "SlowFirstByte")),
    ("out is worse than slow", [slow(), out()], state("down", T)),
    ("slow answers are answers", [slow(T - 9), out(T - 1)], state("degraded", T - 9, "SlowFirstByte")),
    ("a refused key shows though it is up", [refused("CredentialRefused", 401, T)],
     state(None, T - 500, "CredentialRefused", 401, "no")),
    ("and though it is slow", [refused("CredentialRefused", 401, T + 1), slow()],
     state("degraded", T, "CredentialRefused", 401, "no")),
    ("and no more after an answer elsewhere", [refused("CredentialRefused", 401, T), up(T + 1)], UP),
]  # fmt: skip


@pytest.mark.parametrize(("reports", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_state_of_a_provider(reports: list[Evidence], expected: TrafficState | None) -> None:
    found = traffic_from(summary(reports))
    assert (found and found.whole) == expected


@pytest.mark.parametrize(("reports", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_is_judged_in_the_same_way(reports: list[Evidence], expected: TrafficState | None) -> None:
    of_model = [
        Evidence(models=(ModelEvidence("flash", e.success_s, e.failure_s, e.trouble, e.since_s, e.cause, e.status,
                                       e.message, e.cause_s),)) for e in reports
    ]  # fmt: skip
    found = traffic_from(summary(of_model))
    assert found == (None if expected is None else Traffic(None, {"flash": expected}))


def test_of_the_caches_all_that_was_seen_counts() -> None:
    uses = [up(cache=CacheUse(300, 90)), up(cache=CacheUse(100, 90)), up()]
    assert traffic_from(summary(uses)) == Traffic(UP, hit_percent=45)


@pytest.mark.parametrize(("timeouts", "told"), [((1, 1), False), ((2, 1), True), ((0, 5), True)])
def test_timeouts_are_told_when_there_were_several(timeouts: tuple[int, ...], told: bool) -> None:
    found = traffic_from(summary(Evidence(T, since_s=T, timeouts=count) for count in timeouts))
    assert found is not None
    assert found.times_out is told


def sketch(*ranks: int) -> bytes:
    return bytes(ranks).ljust(SKETCH_REGISTERS, b"\0")


SECONDS = st.integers(1, 100).map(float)
CACHES = st.builds(CacheUse, st.integers(0, 9), st.integers(0, 9), st.sampled_from([b"", sketch(1), sketch(2, 3)]))
CAUSES = st.sampled_from(["CredentialRefused", "ModelNotFound"])
MODELS = st.lists(
    st.builds(ModelEvidence, st.sampled_from(["m1", "m2"]), SECONDS, SECONDS, st.sampled_from([None, "down"]), SECONDS),
    max_size=2,
    unique_by=lambda each: each.model,
).map(tuple)
WHOLE = (
    st.builds(up, SECONDS, SECONDS, CACHES)
    | st.builds(refused, CAUSES, st.just(401), SECONDS)
    | st.builds(out, SECONDS, SECONDS, SECONDS, st.booleans())
    | st.builds(slow, SECONDS, st.sampled_from(["SlowFirstByte", "ErrorRate"]))
)
EVIDENCE = st.builds(
    lambda whole, models, timeouts: structs.replace(whole, models=models, timeouts=timeouts),
    WHOLE,
    MODELS,
    st.integers(0, 3),
)


@given(reports=st.lists(EVIDENCE, max_size=8), cuts=st.lists(st.integers(0, 8), max_size=3), order=st.randoms())
def test_every_replica_comes_to_the_same_state_however_the_workers_are_spread(
    reports: list[Evidence], cuts: list[int], order: Random
) -> None:
    bounds = [0, *sorted(cuts), len(reports)]
    replicas = [summary(reports[start:end]) for start, end in pairwise(bounds) if start <= end]
    order.shuffle(replicas)
    everything = summary(reports)
    assert joined(replicas) == everything
    assert joined([everything, NOTHING]) == everything
    result = traffic_from(everything)
    assert (result is None) == (not reports)
    if result is not None:
        assert result.models.keys() == {model.model for each in reports for model in each.models}
        out_somewhere = any(each.trouble in ("down", "over_limit") for each in reports)
        assert out_somewhere or result.whole is None or result.whole.trouble in (None, "degraded")
