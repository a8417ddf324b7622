"""Two replicas of the operator in one process, over real gRPC: each knows what the other's Envoys and workers say."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trustme
from prometheus_client import CollectorRegistry
from tests.operator.fake_envoy import FakeEnvoy

from limpet_extproc.catalog_client import watch
from limpet_extproc.contract import Catalog, Model, Provider
from limpet_extproc.evidence import Pace, Witness
from limpet_extproc.health import State, after_failure
from limpet_operator.delta import CLUSTER, Resource
from limpet_operator.fleet.acks import GatewayState, Traffic
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.peer_contract import PEER_METHOD, Peer, Took, encode
from limpet_operator.fleet.peers import Dial, Peers, dialer, resolver
from limpet_operator.metrics import build_metrics
from limpet_operator.rollout import Patience, Publication, Rollout
from limpet_operator.tls import server_credentials
from limpet_operator.xds import serve

HOST = "limpet-operator-peers.ai.svc"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 (what is waited for happens in other tasks and sets no event)
            await asyncio.sleep(0.002)


class Names:
    """What DNS says, as long as it says anything."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = set(addresses)
        self.broken = False
        self.asked = 0

    async def __call__(self) -> Collection[str]:
        self.asked += 1
        if self.broken:
            raise OSError("name server is away")
        return set(self.addresses)


async def soon(seconds: float) -> None:
    """A sleep in which a second is two hundredths."""
    await asyncio.sleep(seconds / 50)


class Replica:
    """An operator without its sources: a test says what is planned."""

    def __init__(
        self,
        name: str,
        address: str,
        linger_s: float = 0.0,
        drain: Callable[[float], Awaitable[Any]] = soon,
        peer_name: str | None = None,
    ) -> None:
        self.name, self.address = name, address
        self.registry = CollectorRegistry()
        self.changes = 0
        self.killed = False
        self.dialled: list[str] = []
        self.fleet = Fleet(build_metrics(self.registry, "test"), on_change=self._changed, linger_s=linger_s)
        self.rollout = Rollout(self.fleet.xds, self.fleet.catalogs, Patience(0.0, 10.0), drain)
        self.peers = Peers(self.fleet, name, peer_name)

    def _changed(self) -> None:
        self.changes += 1

    def plan(self, **bodies: str) -> None:
        resources = [Resource(name, CLUSTER, body.encode()) for name, body in bodies.items()]
        providers = tuple(Provider(name, (Model("m", "m"),)) for name in bodies)
        self.rollout.apply(Publication({r.key: r for r in resources}, Catalog(str(sorted(bodies)), providers)))

    def version(self, name: str) -> str:
        return self.fleet.xds.resources.version((CLUSTER, name)) or "none"

    def gateways(self) -> dict[str, set[str]]:
        return {each.node: set(each.clusters) for each in self.fleet.gateways()}

    def count(self, metric: str) -> float | None:
        return self.registry.get_sample_value(metric)

    def _dial(self, address: str) -> grpc.aio.Channel:
        self.dialled.append(address)
        return grpc.aio.insecure_channel(address)

    @asynccontextmanager
    async def running(
        self, names: Callable[[], Awaitable[Collection[str]]], dial: Dial | None = None, tls_dir: Path | None = None
    ) -> AsyncIterator["Replica"]:
        handlers = (self.fleet.xds.handler(), self.fleet.catalogs.handler(), self.peers.handler())
        server = await serve(self.address, *handlers, credentials=server_credentials(tls_dir) if tls_dir else None)
        tasks = [
            asyncio.create_task(self.fleet.run()),
            asyncio.create_task(self.peers.run(names, dial or self._dial, soon)),
        ]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.rollout.close()
            if not self.killed:
                self.fleet.xds.close()
                self.fleet.catalogs.close()
                self.peers.close()
            await server.stop(None if self.killed else 0.5)


class Worker:
    """An ext_proc worker: decides by the newest catalog it was sent."""

    def __init__(self, witness: Witness | None = None) -> None:
        self.catalogs: list[Catalog] = []
        self.witness = witness

    @property
    def names(self) -> set[str]:
        return {provider.name for provider in self.catalogs[-1].providers} if self.catalogs else set()

    @asynccontextmanager
    async def beside(self, node: str, address: str) -> AsyncIterator["Worker"]:
        task = asyncio.create_task(watch(address, node, self.catalogs.append, sleep=soon, witness=self.witness))
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    a, b = (Replica(name, f"unix:{tmp_path}/{name}.sock") for name in "ab")
    names = Names(a.address, b.address)
    async with a.running(names), b.running(names):
        yield a, b


Pair = tuple[Replica, Replica]


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


async def test_a_replica_that_dies_takes_along_what_it_told_and_its_successor_is_found(tmp_path: Path) -> None:
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


async def test_replicas_come_and_go_with_what_dns_says_and_nobody_speaks_with_themselves(tmp_path: Path) -> None:
    a, b = (Replica(name, f"unix:{tmp_path}/{name}.sock") for name in "ab")
    names = Names(a.address)
    nobody = Names()
    async with a.running(names), b.running(nobody):
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


def is_down(failures: int = 3) -> State:
    state = State()
    for _ in range(failures):
        state = after_failure(state, 1000.0)
    return state


async def test_what_workers_say_of_providers_is_known_everywhere(pair: Pair) -> None:
    a, b = pair
    for replica in pair:
        replica.plan(p="1", q="1")
    answered, health = {"q": 900.0}, {"p": is_down()}
    one, two = (Worker(Witness(answered, health, Pace(0.001, 0.01))) for _ in range(2))
    async with one.beside("e", a.address), two.beside("e", b.address):
        expected = {"p": Traffic("down", "down", 1000.0, 0, 2), "q": Traffic("up", "up", 900.0, 2, 0)}
        await until(lambda: a.fleet.traffic() == b.fleet.traffic() == expected)
        del health["p"]
        answered["p"] = 1010.0
        await until(lambda: a.fleet.traffic()["p"] == b.fleet.traffic()["p"] == Traffic("up", "up", 1010.0, 2, 0))
        changes = b.changes
        answered["p"] = answered["q"] = 1020.0
        await until(lambda: all(r.fleet.own.traffic["p"].success_s == 1020.0 for r in pair))
        assert b.changes == changes, "that answers still come is no news"
        b.plan(p="1")
        await until(lambda: a.fleet.traffic()["q"].workers_up == 1 and b.fleet.own.traffic.keys() == {"p"})
    await until(lambda: not a.fleet.traffic() and not b.fleet.traffic())


# --- an Envoy at one replica and its workers at the other -------------------------------------------------------------


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


async def test_while_nobody_knows_an_envoy_its_worker_may_lose_providers_and_gains_none(pair: Pair) -> None:
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
    a = Replica("a", f"unix:{tmp_path}/a.sock")
    a.rollout = Rollout(a.fleet.xds, a.fleet.catalogs, Patience(0.0, 0.3), soon)
    async with a.running(Names()), grpc.aio.insecure_channel(a.address) as channel:
        a.plan(stays="1", goes="1")
        mute: Any = channel.stream_stream(PEER_METHOD)()  # type: ignore[call-arg]
        await mute.write(encode(Peer("mute")))
        await until(lambda: a.count("limpet_peers") == 1)
        a.plan(stays="1")
        assert not await a.fleet.catalogs.wait_unannounced(["goes"], 0.05)
        await a.rollout.drained()
        assert set(a.fleet.xds.resources.by_type[CLUSTER]) == {"stays"}
        mute.cancel()


# --- certificates, versions, names ------------------------------------------------------------------------------------


def certificates(directory: Path, authority: trustme.CA, *hosts: str) -> Path:
    directory.mkdir()
    issued = authority.issue_cert(*hosts)
    issued.private_key_pem.write_to_path(directory / "tls.key")
    issued.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    authority.cert_pem.write_to_path(directory / "ca.crt")
    return directory


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_replicas_show_each_other_certificates(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    ours = certificates(tmp_path / "ours", authority, HOST)
    stranger = certificates(tmp_path / "stranger", other, HOST)
    elsewhere = certificates(tmp_path / "elsewhere", authority, "somebody.else")
    a, b = Replica("a", free_address()), Replica("b", free_address())
    names, target = Names(a.address, b.address), f"{HOST}:18000"
    async with a.running(names, dialer(target, ours), ours):
        a.plan(p="1")
        for tls_dir in (None, stranger):
            async with Replica("x", free_address()).running(Names(a.address), dialer(target, tls_dir), ours) as x:
                await asyncio.sleep(0.2)
                assert a.count("limpet_peers") == x.count("limpet_peers") == 0
        async with b.running(Names(), None, elsewhere):
            await asyncio.sleep(0.2)
            assert a.count("limpet_peers") == 0, "a certificate of another name is not believed"
        async with b.running(names, dialer(target, ours), ours):
            await until(lambda: a.count("limpet_peers") == b.count("limpet_peers") == 1)


async def test_a_gateways_certificate_does_not_make_it_a_replica(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours = certificates(tmp_path / "ours", authority, HOST)
    gateways = certificates(tmp_path / "gateways", authority, "limpet-gateway")
    a, target = Replica("a", free_address(), peer_name=HOST), f"{HOST}:18000"
    async with a.running(Names(), tls_dir=ours):
        async with dialer(target, gateways)(a.address) as channel:
            call: Any = channel.stream_stream(PEER_METHOD)()  # type: ignore[call-arg]
            with pytest.raises(grpc.aio.AioRpcError, match=f"only a replica .* carries the name {HOST}") as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        b = Replica("b", free_address(), peer_name=HOST)
        async with b.running(Names(a.address), dialer(target, ours), ours):
            await until(lambda: a.count("limpet_peers") == b.count("limpet_peers") == 1)


@pytest.mark.parametrize(
    ("first_words", "words"),
    [
        ([encode(Peer("x", version=99))], "version 99"),
        ([encode(Took(1))], "first word must be Peer"),
        ([encode(Peer("x")), encode(Peer("x"))], "says Peer once"),
        ([b"\xff"], "not a message"),
    ],
)
async def test_a_stranger_is_told_what_is_wrong(tmp_path: Path, first_words: list[bytes], words: str) -> None:
    a = Replica("a", f"unix:{tmp_path}/a.sock")
    async with a.running(Names()), grpc.aio.insecure_channel(a.address) as channel:
        call: Any = channel.stream_stream(PEER_METHOD)()  # type: ignore[call-arg]
        for word in first_words:
            await call.write(word)
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await read_all(call)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await until(lambda: a.count("limpet_peers") == 0)


async def read_all(call: Any) -> None:
    while await call.read():
        pass


async def test_names_are_looked_up_with_their_port() -> None:
    assert "127.0.0.1:18000" in await resolver("localhost:18000")()
    assert await resolver("[::1]:18000")() == {"[::1]:18000"}
    with pytest.raises(OSError, match=r"."):
        await resolver("nowhere.invalid:18000")()
