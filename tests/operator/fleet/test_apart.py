"""An Envoy at one replica and its workers at the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
from tests.operator.fake_envoy import FakeEnvoy
from tests.operator.fleet.replicas import Names, Pair, Replica, Worker
from tests.waiting import until

from limpet_operator.fleet.peer_contract import PEER_METHOD, PeerHello, encode
from limpet_operator.publish.resource import CLUSTER


class Load:
    """Requests without end: each goes to every provider that its worker knows, and is lost if its Envoy lacks one."""

    def __init__(self, envoy: FakeEnvoy, worker: Worker) -> None:
        self.envoy, self.worker = envoy, worker
        self.requests = 0
        self.lost: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            for name in self.worker.names:
                self.requests += 1
                if name not in self.envoy.has.get(CLUSTER, {}):
                    self.lost.append(name)
            await asyncio.sleep(0)


async def test_an_envoy_here_and_its_worker_there_lose_nothing_while_providers_come_and_go(pair: Pair) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(stays="1")
    envoy, worker = FakeEnvoy(a.address, "e"), Worker()
    async with envoy.running(), worker.beside("e", b.address), Load(envoy, worker).running() as load:
        await until(lambda: worker.names == {"stays"})
        for round_ in range(10):
            first, second = pair if round_ % 2 else (b, a)
            first.plan(stays="1", comes="1")
            await asyncio.sleep(0.01 * (round_ % 3))
            second.plan(stays="1", comes="1")
            await until(lambda: worker.names == {"stays", "comes"})
            first.plan(stays=str(round_))
            await asyncio.sleep(0.01 * (round_ % 3))
            second.plan(stays=str(round_))
            await until(lambda: worker.names == {"stays"} and envoy.has[CLUSTER].keys() == {"stays"})
        assert load.lost == []
        assert load.requests > 100


async def test_a_replica_that_has_not_heard_of_a_removal_yet_still_takes_the_provider_from_its_workers(
    pair: Pair,
) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(stays="1", goes="1")
    envoy, worker = FakeEnvoy(a.address, "e"), Worker()
    async with envoy.running(), worker.beside("e", b.address), Load(envoy, worker).running() as load:
        await until(lambda: worker.names == {"stays", "goes"})
        a.plan(stays="1")
        await until(lambda: envoy.has[CLUSTER].keys() == {"stays"})
        assert worker.names == {"stays"}
        assert load.lost == []


async def test_an_envoy_that_moves_to_a_replica_that_lags_keeps_what_its_worker_may_still_decide_by(
    tmp_path: Path,
) -> None:
    a, b = (Replica(name, f"unix:{tmp_path}/{name}.sock", linger_s=0.3) for name in "ab")
    names = Names(a.address, b.address)
    async with a.running(names), b.running(names):
        a.plan(stays="1", new="1")
        b.plan(stays="1")
        envoy, worker = FakeEnvoy(a.address, "e"), Worker()
        async with worker.beside("e", a.address), Load(envoy, worker).running() as load:
            async with envoy.running():
                await until(lambda: worker.names == {"stays", "new"})
            envoy.address = b.address
            async with envoy.running():
                await until(lambda: worker.names == {"stays"})
                assert envoy.has[CLUSTER].keys() == {"stays", "new"}
                await until(lambda: envoy.has[CLUSTER].keys() == {"stays"})
                b.plan(stays="1", new="1")
                await until(lambda: worker.names == {"stays", "new"})
            assert load.lost == []


async def test_while_an_envoy_is_unknown_its_worker_may_lose_providers_and_gains_none(pair: Pair) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(stays="1", goes="1")
    worker = Worker()
    async with worker.beside("e", b.address):
        async with FakeEnvoy(a.address, "e").running():
            await until(lambda: worker.names == {"stays", "goes"})
        await until(lambda: not b.fleet.gateways())
        b.plan(stays="1", comes="1")
        await until(lambda: worker.names == {"stays"})


async def test_a_replica_that_never_answers_holds_up_a_removal_only_so_long(tmp_path: Path) -> None:
    a = Replica("a", f"unix:{tmp_path}/a.sock", confirm_s=0.3)
    async with a.running(Names()), grpc.aio.insecure_channel(a.address) as channel:
        a.plan(stays="1", goes="1")
        mute: Any = channel.stream_stream(PEER_METHOD)()  # type: ignore[call-arg]
        await mute.write(encode(PeerHello("mute")))
        await until(lambda: a.count("limpet_peers") == 1)
        a.plan(stays="1")
        assert not await a.control_plane.catalogs.wait_withdrawn(["goes"], 0.05)
        await a.control_plane.drained()
        assert set(a.control_plane.xds.resources.by_type[CLUSTER]) == {"stays"}
        mute.cancel()
