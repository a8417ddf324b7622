"""The Lease: one holder at a time, replaced in time, and never two that write."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.status.fake_api import FakeApi
from tests.operator.timeline import Timeline, settled

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.lease import Lease, LeaseDurations, LeaseRecord, Sighting, next_step, parse, sight

PATH = "/apis/coordination.k8s.io/v1/namespaces/limpet/leases/limpet-operator"
TERMS = LeaseDurations(duration_s=8, renew_s=2, valid_s=6)


@dataclass
class Replica:
    """One that wants the Lease, with a clock and an API connection that can be frozen."""

    lease: Lease
    running: "asyncio.Task[None]"
    changes: list[bool]


class Cast:
    """Replicas on one timeline and one API."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.time = Timeline()
        self.replicas: list[Replica] = []

    def join(self, identity: str, sleep: Callable[[float], Coroutine[Any, Any, None]] | None = None) -> Replica:
        lease = Lease(
            self.api,
            "limpet",
            "limpet-operator",
            identity,
            TERMS,
            clock=self.time.clock,
            now=self.time.now,
            sleep=sleep or self.time.sleep,
        )
        changes: list[bool] = []
        lease.subscribe(changes.append)
        replica = Replica(lease, asyncio.create_task(lease.run()), changes)
        self.replicas.append(replica)
        return replica

    @property
    def spec(self) -> Any:
        return self.api.objects[PATH]["spec"]

    def holders(self) -> list[str]:
        return [replica.lease.identity for replica in self.replicas if replica.lease.valid()]

    async def end(self, replica: Replica) -> None:
        replica.running.cancel()
        with suppress(asyncio.CancelledError):
            await replica.running


@pytest_asyncio.fixture
async def cast() -> AsyncIterator[Cast]:
    cast = Cast()
    yield cast
    for replica in cast.replicas:
        await cast.end(replica)


async def test_the_first_takes_it_and_keeps_it(cast: Cast) -> None:
    a, b = cast.join("a"), cast.join("b")
    for _ in range(60):
        await cast.time.advance(1)
        assert cast.holders() == ["a"]
    assert (cast.spec["holderIdentity"], cast.spec["leaseTransitions"]) == ("a", 0)
    assert (a.changes, b.changes) == ([True], [])
    assert b.lease.holder == "a"


async def test_a_dead_holder_is_replaced_within_15_s(cast: Cast) -> None:
    a, b = cast.join("a"), cast.join("b")
    await cast.time.advance(9)
    await cast.end(a)
    died_s = cast.time.now_s
    while not b.lease.valid():
        await cast.time.advance(0.1)
    assert cast.time.now_s - died_s <= 15
    assert (cast.spec["holderIdentity"], cast.spec["leaseTransitions"]) == ("b", 1)


async def test_a_holder_that_ends_in_order_is_replaced_at_the_next_look(cast: Cast) -> None:
    a, b = cast.join("a"), cast.join("b")
    await cast.time.advance(9)
    await cast.end(a)
    await a.lease.release()
    assert not a.lease.valid()
    assert a.changes == [True, False]
    assert cast.spec["holderIdentity"] is None
    await cast.time.advance(TERMS.renew_s)
    assert b.lease.valid()


async def test_a_frozen_holder_finds_its_lease_run_out_before_another_takes_it(cast: Cast) -> None:
    frozen = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await cast.time.sleep(seconds)
        if frozen.is_set():
            await asyncio.Event().wait()

    a, b = cast.join("a", sleep), cast.join("b")
    await cast.time.advance(9)
    frozen.set()
    for _ in range(200):
        await cast.time.advance(0.1)
        assert len(cast.holders()) <= 1
    assert (a.lease.valid(), b.lease.valid()) == (False, True)


async def test_without_an_api_server_nobody_holds_it_and_afterwards_one_does(cast: Cast) -> None:
    a, b = cast.join("a"), cast.join("b")
    await cast.time.advance(3)

    def away(_method: str, _path: str) -> None:
        raise ApiError(None, "connection refused", reason="NoAnswer")

    cast.api.trouble = away
    await cast.time.advance(20)
    assert cast.holders() == []
    cast.api.trouble = lambda _method, _path: None
    for _ in range(100):
        await cast.time.advance(0.1)
        assert len(cast.holders()) <= 1
    assert len(cast.holders()) == 1
    assert a.changes[:2] == [True, False]
    assert b.lease.holder == cast.spec["holderIdentity"]


async def test_a_renewal_that_arrived_without_an_answer_costs_nothing(cast: Cast) -> None:
    a = cast.join("a")
    await cast.time.advance(3)
    once = [True]

    def answer_lost(method: str, path: str) -> None:
        if method == "PUT" and once:
            once.clear()
            cast.api.put(path, spec={**cast.spec, "renewTime": "now"})
            raise ApiError(None, "the connection broke", reason="NoAnswer")

    cast.api.trouble = answer_lost
    for _ in range(100):
        await cast.time.advance(0.1)
        assert a.lease.valid()


async def test_a_deleted_lease_is_made_again_by_its_holder_and_not_by_two(cast: Cast) -> None:
    cast.join("a"), cast.join("b")
    await cast.time.advance(3.5)
    del cast.api.objects[PATH]
    for _ in range(200):
        await cast.time.advance(0.1)
        assert len(cast.holders()) <= 1
    assert cast.holders() == ["a"]


async def test_what_a_release_wrote_on_it_stays(cast: Cast) -> None:
    labels = {"app.kubernetes.io/instance": "limpet"}
    cast.api.put(PATH, metadata={"labels": labels})
    a = cast.join("a")
    await cast.time.advance(9)
    assert a.lease.valid()
    assert {method for method, _, _ in cast.api.writes} == {"PUT"}
    assert all(body["metadata"]["labels"] == labels for _, _, body in cast.api.writes)


async def test_what_is_left_of_it_only_shrinks_between_renewals(cast: Cast) -> None:
    a = cast.join("a")
    await settled()
    assert a.lease.remaining_s() == TERMS.valid_s
    await cast.time.advance(1.5)
    assert a.lease.remaining_s() == TERMS.valid_s - 1.5


TAKEN = LeaseRecord("b", 8, 3, None, "t1", "7")


@pytest.mark.parametrize(
    ("record", "seen_for_s", "step"),
    [
        (None, 0, "take"),
        (LeaseRecord(None, 8, 3, None, "t1", "7"), 0, "take"),
        (LeaseRecord("a", 8, 3, None, "t1", "7"), 0, "renew"),
        (TAKEN, 0, "wait"),
        (TAKEN, 7.9, "wait"),
        (TAKEN, 8, "take"),
        (LeaseRecord("b", 30, 3, None, "t1", "7"), 29, "wait"),
        (LeaseRecord("b", 1, 3, None, "t1", "7"), 7.9, "wait"),
    ],
)
def test_who_may_take_it(record: LeaseRecord | None, seen_for_s: float, step: str) -> None:
    assert next_step(Sighting(record, 100.0), "a", 100.0 + seen_for_s, TERMS) == step


def test_a_lease_without_a_spec_counts_as_given_up() -> None:
    assert parse({"metadata": {"resourceVersion": "1"}}) == LeaseRecord(None, 0, 0, None, None, "1")


@given(st.lists(st.sampled_from(["t1", "t2", None]), max_size=8))
def test_the_clock_of_a_lease_starts_anew_with_each_change_and_only_then(renewals: list[str | None]) -> None:
    sighting, last, since_s = None, object(), 0.0
    for second, renewed in enumerate(renewals):
        record = None if renewed is None else LeaseRecord("b", 8, 0, None, renewed, renewed)
        sighting = sight(sighting, record, float(second))
        if second == 0 or (renewed is not None and renewed != last):
            last, since_s = renewed, float(second)
        assert sighting.since_s == since_s
