"""When a provider is down for the whole installation, and since when: from the words of single workers."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import SKETCH_REGISTERS, CacheUse, Evidence
from limpet_operator.fleet.traffic import NOTHING, joined, summary, traffic_from
from limpet_operator.fleet.view import Traffic

T = 10_000.0
UNUSED = CacheUse()


def up(success_s: float = T, since_s: float = T - 500, cache: CacheUse = UNUSED) -> Evidence:
    return Evidence(success_s, since_s=since_s, cache=cache)


def out(since_s: float = T, failure_s: float = 0.0, success_s: float = 0.0, limited: bool = False) -> Evidence:
    return Evidence(success_s, failure_s or since_s, "over_limit" if limited else "down", since_s)


def refused(cause: str, status: int, at_s: float) -> Evidence:
    return Evidence(T - 9, since_s=T - 500, cause=cause, status=status, message="no", cause_s=at_s)


CASES: list[tuple[str, list[Evidence], Traffic | None]] = [
    ("no evidence", [], None),
    ("one gets answers", [up()], Traffic("up", "up", T - 500)),
    ("since the first that has it up now", [up(since_s=T - 9), up(since_s=T - 99)], Traffic("up", "up", T - 99)),
    ("one has it out and no other has tried it", [out()], Traffic("down", "down", T)),
    ("the others' answers are older", [out(), up(T - 1)], Traffic("down", "down", T)),
    ("another got an answer since", [out(), up(T + 1)], Traffic("up", "up", T - 500)),
    ("an answer between two outages", [out(), up(T + 1), out(T + 2)], Traffic("down", "down", T)),
    ("one worker's trials against fresh answers", [out(T - 300, T), up(T - 5)], Traffic("up", "up", T - 500)),
    ("against an answer of long ago", [out(T - 300, T), up(T - 40)], Traffic("down", "down", T - 300)),
    ("all were limited", [out(limited=True), out(T + 1, limited=True)], Traffic("down", "over_limit", T)),
    ("the newest reason counts", [out(limited=True), out(T + 1)], Traffic("down", "down", T)),
    ("of the caches all that was seen counts", [up(cache=CacheUse(300, 90)), up(cache=CacheUse(100, 90)), up()],
     Traffic("up", "up", T - 500, hit_percent=45)),
    ("a refused key shows though it is up", [refused("CredentialRefused", 401, T)],
     Traffic("up", "up", T - 500, cause="CredentialRefused", status=401, message="no")),
    ("and no more after an answer elsewhere", [refused("CredentialRefused", 401, T), up(T + 1)],
     Traffic("up", "up", T - 500)),
    ("answers of other models don't speak for one", [refused("ModelNotFound", 404, T), up(T + 1)],
     Traffic("up", "up", T - 500, cause="ModelNotFound", status=404, message="no")),
    ("its own answers before that do not count", [out(success_s=T - 0.1)], Traffic("down", "down", T)),
]  # fmt: skip


@pytest.mark.parametrize(("reports", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_state_of_a_provider(reports: list[Evidence], expected: Traffic | None) -> None:
    assert traffic_from(summary(reports)) == expected


def sketch(*ranks: int) -> bytes:
    return bytes(ranks).ljust(SKETCH_REGISTERS, b"\0")


SECONDS = st.integers(1, 100).map(float)
CACHES = st.builds(CacheUse, st.integers(0, 9), st.integers(0, 9), st.sampled_from([b"", sketch(1), sketch(2, 3)]))
CAUSES = st.sampled_from(["CredentialRefused", "ModelNotFound"])
EVIDENCE = (
    st.builds(up, SECONDS, SECONDS, CACHES)
    | st.builds(refused, CAUSES, st.just(401), SECONDS)
    | st.builds(out, SECONDS, SECONDS, SECONDS, st.booleans())
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
        assert everything.up + everything.down == len(reports)
        assert (everything.down if result.state == "down" else everything.up) > 0
