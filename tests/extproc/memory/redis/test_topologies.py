"""Sentinel and Cluster, with real processes: the same answers, and a failover that needs no action."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.extproc.memory.conftest import Gateways
from tests.extproc.memory.redis.test_access import RIGHTS, write
from tests.extproc.memory.redis.test_failures import KNOWN, away, remembered, works
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import eventually, until

from limpet_extproc.memory.redis.layout import redis_key
from limpet_operator.laptop.machine import free_port

pytestmark = pytest.mark.slow

SLOTS = 16_384

CLUSTER_RIGHTS = "+cluster|slots +command"
"""Needed besides with a cluster, by docs/memory.md."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[RedisServer, ...]]:
    """Three masters that share the slots."""
    options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
    nodes = tuple(
        RedisServer(tmp_path / f"node-{number}", {**options, "cluster-port": str(free_port())}) for number in range(3)
    )
    with servers(*nodes):
        first = nodes[0]
        for number, node in enumerate(nodes):
            node.run("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            first.run("CLUSTER", "MEET", "127.0.0.1", node.port, node.options["cluster-port"])
        eventually(lambda: all(complete(node) for node in nodes), "the cluster does not come together")
        yield nodes


def complete(node: RedisServer) -> bool:
    info = node.run("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in info and "cluster_known_nodes:3" in info


def url_of(*nodes: RedisServer) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


async def test_a_cluster_keeps_conversations_on_all_its_nodes(
    cluster: tuple[RedisServer, ...], gateways: Gateways
) -> None:
    one, two = await gateways.open(url_of(*cluster)), await gateways.open(url_of(cluster[2]))
    keys = [number.to_bytes(16, "big") for number in range(60)]
    for key in keys:
        one.memory.remember(key, KNOWN.warm[0], 4, 0.0)
    await one.memory.written()
    assert (one.failures("write", "error"), one.writable) == (0, True)
    for key in keys:
        assert await two.memory.lookup(key, 0.0) == KNOWN
    assert all(node.run("DBSIZE") > 0 for node in cluster)
    assert sum(node.run("DBSIZE") for node in cluster) == len(keys)


async def test_a_user_with_no_more_rights_than_a_cluster_needs(
    cluster: tuple[RedisServer, ...], tmp_path: Path, gateways: Gateways, key: bytes
) -> None:
    for node in cluster:
        node.run("ACL", "SETUSER", "limpet", *RIGHTS.split(), *CLUSTER_RIGHTS.split(), ">opensesame")
    credentials = write(tmp_path, username="limpet", password="opensesame")
    await works(await gateways.open(url_of(*cluster), credentials=credentials), key)


async def test_slots_that_move_are_followed(cluster: tuple[RedisServer, ...], gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open(url_of(*cluster))
    await remembered(gateway, key)
    slot = cluster[0].run("CLUSTER", "KEYSLOT", redis_key(key))
    owner = slot * 3 // SLOTS
    other = cluster[(owner + 1) % 3]
    owner_id, other_id = cluster[owner].run("CLUSTER", "MYID"), other.run("CLUSTER", "MYID")
    other.run("CLUSTER", "SETSLOT", slot, "IMPORTING", owner_id)
    cluster[owner].run("CLUSTER", "SETSLOT", slot, "MIGRATING", other_id)
    cluster[owner].run("MIGRATE", "127.0.0.1", other.port, redis_key(key), 0, 5000)
    for node in (other, *cluster):
        node.run("CLUSTER", "SETSLOT", slot, "NODE", other_id)
    assert await gateway.memory.lookup(key, 0.0) == KNOWN
    await remembered(gateway, key)
    assert gateway.failures("lookup", "error") == 0


async def test_a_cluster_that_goes_and_comes_back(
    cluster: tuple[RedisServer, ...], gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(url_of(*cluster))
    await remembered(gateway, key)
    for node in cluster:
        node.kill()
    await away(gateway, key)
    for node in cluster:
        node.start()
    eventually(lambda: all(complete(node) for node in cluster), "the cluster does not come back")
    await until(lambda: gateway.up)
    await works(gateway, key)


async def test_sentinels_name_the_master_and_the_next_one(tmp_path: Path, gateways: Gateways, key: bytes) -> None:
    quick = {"repl-diskless-sync-delay": "0"}
    master = RedisServer(tmp_path / "master", quick)
    replica = RedisServer(tmp_path / "replica", {**quick, "replicaof": f"127.0.0.1 {master.port}"})
    with servers(master, replica):
        watching = {
            "sentinel monitor mymaster": f"127.0.0.1 {master.port} 1",
            "sentinel down-after-milliseconds mymaster": "500",
            "sentinel failover-timeout mymaster": "2000",
        }
        sentinel = RedisServer(tmp_path / "sentinel", watching, sentinel=True)
        nobody = RedisServer(tmp_path / "nobody")
        with servers(sentinel):
            eventually(lambda: knows_replica(sentinel), "the sentinel does not find the replica")
            url = f"redis+sentinel://127.0.0.1:{nobody.port},127.0.0.1:{sentinel.port}/mymaster"
            gateway = await gateways.open(url)
            await until(lambda: gateway.up)
            await remembered(gateway, key)
            eventually(lambda: replica.run("EXISTS", redis_key(key)) == 1, "the replica does not follow")
            master.kill()
            await away(gateway, key)
            await until(lambda: gateway.up)
            assert await gateway.memory.lookup(key, 0.0) == KNOWN
            await works(gateway, key)
            assert replica.run("EXISTS", redis_key(b"new" + key)) == 1


def knows_replica(sentinel: RedisServer) -> bool:
    return len(sentinel.run("SENTINEL", "REPLICAS", "mymaster")) == 1
