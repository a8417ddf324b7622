"""Two replicas: each knows what the other's Envoys and workers report."""

from pathlib import Path

from tests.extproc.hand_clock import HandClock
from tests.operator.fake_envoy import FakeEnvoy
from tests.operator.fleet.replicas import Names, Pair, Replica, Worker
from tests.waiting import until

from limpet_extproc.operator_link.evidence import EvidenceReporter, ReportIntervals
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AttemptFailed, AttemptSucceeded
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_operator.fleet.view import GatewayState, Traffic, TrafficState


async def test_every_replica_knows_what_each_envoy_took_and_what_it_refuses(pair: Pair) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(good="1", bad="broken")
    async with FakeEnvoy(a.address, "e").running(), FakeEnvoy(b.address, "f").running():
        versions = {"good": a.version("good")}
        expected = [GatewayState(node, versions, {"bad": "no such file"}) for node in "ef"]
        await until(lambda: list(a.fleet.gateways()) == list(b.fleet.gateways()) == expected)
        assert b.changes > 0
        assert (b.count("limpet_peers"), b.count("limpet_gateways")) == (1, 2)
        for replica in pair:
            replica.plan(good="1", bad="mended")
        await until(lambda: all("bad" in each.clusters and not each.rejected for each in b.fleet.gateways()))
    await until(lambda: not a.fleet.gateways() and not b.fleet.gateways())


async def test_an_envoy_that_moves_is_counted_once(pair: Pair) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(p="1")
    envoy = FakeEnvoy(a.address, "e")
    async with envoy.running():
        await until(lambda: b.gateways() == {"e": {"p"}})
    envoy.address = b.address
    async with envoy.running():
        await until(lambda: a.gateways() == b.gateways() == {"e": {"p"}})


async def test_a_replica_that_dies_takes_along_what_it_reported_and_its_successor_is_found(tmp_path: Path) -> None:
    a, b = (Replica(name, f"unix:{tmp_path}/{name}.sock") for name in "ab")
    names = Names(a.address, b.address)
    async with a.running(names):
        a.plan(p="1")
        async with b.running(names):
            b.plan(p="1")
            async with FakeEnvoy(b.address, "e").running():
                await until(lambda: a.gateways() == {"e": {"p"}})
                b.killed = True
        await until(lambda: a.gateways() == {} and a.count("limpet_peers") == 0)
        successor = Replica("c", f"unix:{tmp_path}/c.sock")
        names.addresses = {a.address, successor.address}
        async with successor.running(names), FakeEnvoy(successor.address, "e").running():
            successor.plan(p="1")
            await until(lambda: a.gateways() == {"e": {"p"}})


async def test_replicas_come_and_go_with_dns_and_none_connects_to_itself(tmp_path: Path) -> None:
    a, b = (Replica(name, f"unix:{tmp_path}/{name}.sock") for name in "ab")
    names = Names(a.address)
    empty = Names()
    async with a.running(names), b.running(empty):
        await until(lambda: names.asked >= 5)
        assert a.dialled == [a.address], "once, to find out that it is ourselves"
        assert a.count("limpet_peers") == 0
        names.addresses.add(b.address)
        await until(lambda: a.count("limpet_peers") == b.count("limpet_peers") == 1)
        names.broken = True
        asked = names.asked
        await until(lambda: names.asked >= asked + 3)
        assert a.count("limpet_peers") == 1, "a name server that is away changes nothing"
        names.broken = False
        names.addresses.clear()
        asked = names.asked
        await until(lambda: names.asked >= asked + 3)
        assert a.count("limpet_peers") == 1, "a stream that is there goes on"


async def test_what_workers_report_of_providers_is_known_everywhere(pair: Pair) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(p="1", q="1")
    clock = HandClock(900.0)
    tracker = ProviderTracker(clock, lambda _change: None)
    tracker.apply(AttemptSucceeded("q"))
    clock.now_s = 1000.0
    for _ in range(3):
        tracker.apply(AttemptFailed("p"))
    one, two = (
        Worker(EvidenceReporter(tracker, dict, Complaints(lambda: None), dict, clock, ReportIntervals(0.001, 0.01)))
        for _ in range(2)
    )
    async with one.beside("e", a.address), two.beside("e", b.address):
        expected = {"p": Traffic(TrafficState("down", 1000.0)), "q": Traffic(TrafficState(None, 900.0))}
        await until(lambda: a.fleet.traffic() == b.fleet.traffic() == expected)
        clock.now_s = 1010.0
        tracker.apply(AttemptSucceeded("p"))
        await until(lambda: a.fleet.traffic()["p"] == b.fleet.traffic()["p"] == Traffic(TrafficState(None, 1010.0)))
        changes = b.changes
        clock.now_s = 1020.0
        for name in "pq":
            tracker.apply(AttemptSucceeded(name))
        await until(lambda: all(r.fleet.own.traffic["p"].whole.success_s == 1020.0 for r in pair))
        assert b.changes == changes, "further answers change nothing"
        b.plan(p="1")
        await until(lambda: b.fleet.own.traffic.keys() == {"p"})
        assert a.fleet.traffic().keys() == {"p", "q"}, "the other replica still has it planned"
    await until(lambda: not a.fleet.traffic() and not b.fleet.traffic())
