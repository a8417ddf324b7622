"""Replicas and their workers in any arrangement, message by message: what reaches whom, and how often."""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from limpet_extproc.contract.health_stream import (
    ProbeAnswer,
    Probed,
    ProbeRequest,
    ProbeVerdicts,
    Relayed,
    decode_order,
)
from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.link import PeerLink
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.serve.health_exchange import CannotAskError, HealthExchange, HealthWorker
from limpet_operator.serve.metrics import build_metrics

REQUEST = ProbeRequest(0, "a", "GET", "/models")


class Replica:
    """One side of every link of one replica, without gRPC."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now_s = 1000.0
        metrics = build_metrics(CollectorRegistry(), "test")
        self.links = PeerLinks()
        self.health = HealthLinks(self.links, metrics)
        self.exchange = HealthExchange(self.health, metrics, lambda: self.now_s)


@dataclass
class World:
    """Replicas, the links between them, and their workers."""

    replicas: list[Replica]
    links: list[tuple[Replica, PeerLink, Replica, PeerLink]] = field(default_factory=list)
    workers: list[tuple[Replica, HealthWorker]] = field(default_factory=list)

    def connect(self, one: Replica, other: Replica) -> None:
        ours, theirs = PeerLink(other.name), PeerLink(one.name)
        self.links.append((one, ours, other, theirs))
        for replica, link in ((one, ours), (other, theirs)):
            replica.links.add(link, lambda: None)
            replica.health.joined(link, replica.exchange)

    def disconnect(self, number: int) -> None:
        one, ours, other, theirs = self.links.pop(number)
        for replica, link in ((one, ours), (other, theirs)):
            replica.links.remove(link)
            replica.health.left(link)

    def lose_one_of_two(self, number: int) -> None:
        """End a link, unless it is the only one of its pair."""
        if number < len(self.links):
            pairs = [{one.name, other.name} for one, _, other, _ in self.links]
            if pairs.count(pairs[number]) > 1:
                self.disconnect(number)

    def worker(self, replica: Replica, node: str) -> HealthWorker:
        worker = replica.exchange.join(node)
        self.workers.append((replica, worker))
        return worker

    def deliver(self) -> None:
        """All that waits on links, until nothing does."""
        moved = True
        while moved:
            moved = False
            for one, ours, other, theirs in self.links:
                for sender, receiver, at in ((ours, theirs, other), (theirs, ours, one)):
                    while (message := sender.health.next()) is not None:
                        at.health.receive(receiver, message, at.exchange)
                        moved = True

    async def answer(self) -> None:
        """Deliver until every worker has answered what it was asked."""
        for _ in range(6):
            self.deliver()
            for replica, worker in self.workers:
                while (data := worker.outbox.next()) is not None:
                    order = decode_order(data)
                    if isinstance(order, ProbeRequest):
                        replica.exchange.answered(worker, ProbeAnswer(order.id, 200, body=worker.node))
            await asyncio.sleep(0)


def received(worker: HealthWorker) -> list[Any]:
    orders = []
    while (data := worker.outbox.next()) is not None:
        orders.append(decode_order(data))
    return orders


PAIRS = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
"""Who dialled whom, of three replicas."""


@given(
    dialled=st.permutations(PAIRS),
    refused=st.sets(st.sampled_from([(0, 1), (0, 2), (1, 2)])),
    placed=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["x", "y", "z"])), min_size=1, max_size=8),
    steps=st.lists(
        st.tuples(st.sampled_from(["report", "report", "deliver", "lose a link"]), st.integers(0, 7)), max_size=20
    ),
)
def test_an_event_reaches_each_worker_of_other_gateways_once_and_none_of_its_own(
    dialled: list[tuple[int, int]],
    refused: Collection[tuple[int, int]],
    placed: list[tuple[int, str]],
    steps: list[tuple[str, int]],
) -> None:
    world = World([Replica(name) for name in "abc"])
    for one, other in dialled:
        if (one, other) not in refused:  # Such a pair has the link that the other one has dialled.
            world.connect(world.replicas[one], world.replicas[other])
    for place, node in placed:
        world.worker(world.replicas[place], node)
    reported: list[tuple[str, bytes]] = []
    for step, number in steps:
        if step == "report":
            replica, worker = world.workers[number % len(world.workers)]
            reported.append((worker.node, b"[%d]" % len(reported)))
            replica.exchange.observed(worker, msgspec.Raw(reported[-1][1]))
        else:
            world.deliver()
            if step == "lose a link":
                world.lose_one_of_two(number)
    world.deliver()
    for _, worker in world.workers:
        orders = received(worker)
        assert all(isinstance(order, Relayed) for order in orders)
        expected = Counter(event for node, event in reported if node != worker.node)
        assert Counter(bytes(order.events) for order in orders) == expected


def trio() -> World:
    world = World([Replica(name) for name in "abc"])
    for one, other in PAIRS:
        world.connect(world.replicas[one], world.replicas[other])
    return world


def test_what_one_worker_reports_arrives_in_the_order_of_its_reports() -> None:
    world = trio()
    sender = world.worker(world.replicas[0], "x")
    listener = world.worker(world.replicas[1], "y")
    for number in range(20):
        world.replicas[0].exchange.observed(sender, msgspec.Raw(b"[%d]" % number))
    world.deliver()
    assert received(listener) == [Relayed(msgspec.Raw(b"[%d]" % number)) for number in range(20)]


def verdicts(verdict: Any) -> ProbeVerdicts:
    return ProbeVerdicts((Probed("a", verdict),), 30.0)


def test_the_verdicts_of_the_newest_holder_are_everywhere_and_end_with_it() -> None:
    world = World([Replica(name) for name in "abc"])
    a, b, c = world.replicas
    world.connect(a, b)
    workers = [world.worker(replica, "x") for replica in world.replicas]
    a.exchange.publish(verdicts("Down"))
    world.deliver()
    assert [received(worker) for worker in workers] == [[verdicts("Down")], [verdicts("Down")], []]
    b.exchange.publish(verdicts("Up"))
    world.deliver()
    assert [received(worker) for worker in workers] == [[verdicts("Up")], [verdicts("Up")], []]
    world.connect(c, a)
    world.deliver()
    assert received(workers[2]) == [], "a knows them from b, which tells c itself"
    b.now_s += 10
    world.connect(c, b)
    world.deliver()
    assert received(workers[2]) == [msgspec.structs.replace(verdicts("Up"), valid_s=20.0)]
    for replica in world.replicas:
        replica.now_s += 40
    world.connect(b, c)
    world.deliver()
    assert [received(world.worker(replica, "y")) for replica in world.replicas] == [[], [], []]


async def asked(world: World, at: Replica, gateway: str | None = None) -> ProbeAnswer:
    asking = asyncio.create_task(at.exchange.ask(REQUEST, gateway))
    await asyncio.sleep(0)
    await world.answer()
    return await asking


async def test_a_holder_without_workers_probes_through_other_replicas_in_turn() -> None:
    world = trio()
    a, b, c = world.replicas
    with pytest.raises(CannotAskError, match="no worker of any gateway is connected"):
        await asked(world, a)
    world.worker(b, "y")
    assert [(await asked(world, a)).body for _ in range(3)] == ["y", "y", "y"]
    world.worker(c, "z")
    assert sorted([(await asked(world, a)).body for _ in range(4)]) == ["y", "y", "z", "z"]
    world.worker(a, "x")
    assert {(await asked(world, a)).body for _ in range(3)} == {"x"}
    assert (await asked(world, a, "z")).body == "z"
    with pytest.raises(CannotAskError, match="no worker beside w is connected"):
        await asked(world, a, "w")


async def test_a_replica_that_leaves_is_no_answer_of_the_provider() -> None:
    world = World([Replica("a"), Replica("b")])
    a, b = world.replicas
    with pytest.raises(CannotAskError, match="nor another replica"):
        await a.exchange.ask(REQUEST)
    world.connect(a, b)
    world.worker(b, "y")
    asking = asyncio.create_task(a.exchange.ask(REQUEST))
    await asyncio.sleep(0)
    world.deliver()
    await asyncio.sleep(0)
    world.disconnect(0)
    with pytest.raises(CannotAskError, match="the replica that was asked left"):
        await asking
    asking = asyncio.create_task(a.exchange.ask(msgspec.structs.replace(REQUEST, timeout_s=-3.99)))
    world.connect(a, b)
    with pytest.raises(CannotAskError, match="did not answer in time"):
        await asking
