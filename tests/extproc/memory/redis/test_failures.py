"""Redis fails: requests go on without it at once, it is logged once, and Redis is used again when it is back."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.extproc.memory.conftest import Gateway, Gateways
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_extproc.memory import Remembered, Warm
from limpet_extproc.memory.objects import ObjectPlace, PlacesUnknownError
from limpet_extproc.memory.redis.layout import redis_key

LogLines = Callable[[], list[str]]
KNOWN = Remembered((Warm("a", 300.0),))
SOON_S = 0.5


async def remembered(gateway: Gateway, key: bytes) -> None:
    gateway.memory.remember(key, KNOWN.warm[0], 4, 0.0)
    await gateway.memory.written()
    assert await gateway.memory.lookup(key, 0.0) == KNOWN


async def works(gateway: Gateway, key: bytes) -> None:
    """A new conversation is written and read. Tried again, as on a loaded machine a connection may miss its second."""

    async def written_and_read() -> bool:
        gateway.memory.remember(b"new" + key, KNOWN.warm[0], 4, 0.0)
        await gateway.memory.written()
        return await gateway.memory.lookup(b"new" + key, 0.0) == KNOWN and gateway.up and gateway.writable

    await until(written_and_read, "a conversation written to Redis and read again")


async def away(gateway: Gateway, key: bytes) -> None:
    """Ask until it is given up; every answer is None."""
    async with asyncio.timeout(60):
        while gateway.up:
            assert await gateway.memory.lookup(key, 0.0) is None
            await asyncio.sleep(0.01)


async def test_killed_and_started_again(
    own_redis: RedisServer, gateways: Gateways, key: bytes, log_lines: LogLines
) -> None:
    gateway = await gateways.open(own_redis.url)
    await remembered(gateway, key)
    own_redis.kill()
    await away(gateway, key)
    before = gateway.failures("lookup", "away")
    for _ in range(100):
        assert await gateway.memory.lookup(key, 0.0) is None
        gateway.memory.expect(key, "a", 0.0)
    assert gateway.failures("lookup", "away") == before + 100
    assert gateway.failures("write", "away") == 100
    own_redis.start()
    await until(lambda: gateway.up)
    assert await gateway.memory.lookup(key, 0.0) is None
    await remembered(gateway, key)
    assert [line.split(":")[0] for line in log_lines()] == ["memory redis"] * 3
    assert [word for line in log_lines() for word in ("is connected", "is away") if word in line] == [
        "is connected",
        "is away",
        "is connected",
    ]


async def test_where_objects_were_made_meanwhile_is_written_when_it_is_back(
    own_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway, place = await gateways.open(own_redis.url), ObjectPlace("a", "me")
    own_redis.kill()
    gateway.memory.note_place(b"under way" + key, place, 0.0)
    await away(gateway, key)
    gateway.memory.note_place(key, place, 0.0)
    assert gateway.failures("write", "away") == 0
    own_redis.start()
    await until(lambda: gateway.up)

    async def known() -> bool:
        try:
            return [await gateway.memory.place(each, 0.0) for each in (key, b"under way" + key)] == [place, place]
        except PlacesUnknownError:
            return False

    await until(known, "both places")


async def test_not_there_at_the_start(tmp_path: Path, gateways: Gateways, key: bytes) -> None:
    server = RedisServer(tmp_path)
    gateway = await gateways.open(server.url)
    assert not gateway.up
    assert await gateway.memory.lookup(key, 0.0) is None
    with servers(server):
        await until(lambda: gateway.up)
        await remembered(gateway, key)


async def test_hanging(own_redis: RedisServer, gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open(own_redis.url, deadline_s=SOON_S)
    await remembered(gateway, key)
    own_redis.freeze()
    try:
        answers = await asyncio.gather(*(gateway.memory.lookup(key, 0.0) for _ in range(50)))
        assert answers == [None] * 50
        assert gateway.failures("lookup", "timeout") == 50
        assert await gateway.memory.lookup(key, 0.0) is None
        assert not gateway.up
        assert await gateway.memory.lookup(key, 0.0) is None
        assert gateway.failures("lookup", "away") == 1
    finally:
        own_redis.thaw()
    await until(lambda: gateway.up)
    assert await gateway.memory.lookup(key, 0.0) == KNOWN


async def test_one_late_answer_breaks_nothing_off(own_redis: RedisServer, gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open(own_redis.url, deadline_s=SOON_S)
    await remembered(gateway, key)
    connections = own_redis.run("INFO", "stats")["total_connections_received"]
    own_redis.freeze()
    try:
        assert await gateway.memory.lookup(key, 0.0) is None
    finally:
        own_redis.thaw()
    assert await gateway.memory.lookup(key, 0.0) == KNOWN
    assert gateway.up
    # Another connection for the second lookup, and that of this test.
    assert own_redis.run("INFO", "stats")["total_connections_received"] <= connections + 2


@pytest.mark.parametrize("held_up", [1.2, 3], ids=["read too late", "sent too late"])
async def test_a_loop_that_is_held_up_does_not_count_against_redis(
    own_redis: RedisServer, gateways: Gateways, key: bytes, held_up: float
) -> None:
    gateway = await gateways.open(own_redis.url, deadline_s=SOON_S)
    await remembered(gateway, key)
    own_redis.freeze()
    try:
        asking = asyncio.create_task(gateway.memory.lookup(key, 0.0))
        for _ in range(10 if held_up < 2 else 1):
            await asyncio.sleep(0)
    finally:
        own_redis.thaw()
    time.sleep(held_up * SOON_S)  # noqa: ASYNC251 (as by large bodies of other requests)
    assert await asking == KNOWN
    assert gateway.failures("lookup", "timeout") == 0


async def test_one_that_takes_no_more_connections_is_still_read_and_written(
    own_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(own_redis.url)
    await remembered(gateway, key)
    own_redis.run("CONFIG", "SET", "maxclients", 1)
    own_redis.freeze()
    try:
        asked = []
        for _ in range(8):
            asked.append(asyncio.create_task(gateway.memory.lookup(key, 0.0)))
            await asyncio.sleep(0.01)
        gateway.memory.remember(b"new" + key, KNOWN.warm[0], 4, 0.0)
        await asyncio.sleep(0.01)
    finally:
        own_redis.thaw()
    assert await asyncio.gather(*asked) == [KNOWN] * 8
    await gateway.memory.written()
    assert await gateway.memory.lookup(b"new" + key, 0.0) == KNOWN


async def test_flushed(own_redis: RedisServer, gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open(own_redis.url)
    await remembered(gateway, key)
    own_redis.run("FLUSHALL")
    own_redis.run("SCRIPT", "FLUSH")
    assert await gateway.memory.lookup(key, 0.0) is None
    await remembered(gateway, key)
    assert gateway.failures("write", "error") == 0


async def test_full(own_redis: RedisServer, gateways: Gateways, key: bytes, log_lines: LogLines) -> None:
    gateway = await gateways.open(own_redis.url)
    await remembered(gateway, key)
    own_redis.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
    own_redis.run("CONFIG", "SET", "maxmemory", "1")
    for _ in range(3):
        gateway.memory.remember(key, Warm("b", 300.0), 4, 0.0)
        await gateway.memory.written()
        assert await gateway.memory.lookup(key, 0.0) == KNOWN
    assert gateway.failures("write", "full") == 3
    assert gateway.up
    assert not gateway.writable
    own_redis.run("CONFIG", "SET", "maxmemory", "0")
    await remembered(gateway, key)
    assert gateway.writable
    complaints = [line for line in log_lines() if "writes" in line]
    assert len(complaints) == 2
    assert "its memory is full" in complaints[0]
    assert "takes writes again" in complaints[1]


async def test_a_read_only_replica(own_redis: RedisServer, tmp_path: Path, gateways: Gateways, key: bytes) -> None:
    await remembered(await gateways.open(own_redis.url), key)
    with servers(RedisServer(tmp_path / "replica", {"replicaof": f"127.0.0.1 {own_redis.port}"})) as (replica,):
        await until(lambda: replica.run("EXISTS", redis_key(key)) == 1)
        gateway = await gateways.open(replica.url)
        gateway.memory.expect(b"another", "a", 0.0)
        await gateway.memory.written()
        assert gateway.failures("write", "readonly") == 1
        assert await gateway.memory.lookup(key, 0.0) == KNOWN
        assert gateway.up


async def test_more_changes_than_can_be_written(own_redis: RedisServer, gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open(own_redis.url)
    own_redis.freeze()
    try:
        for _ in range(11_000):
            gateway.memory.remember(key, KNOWN.warm[0], 4, 0.0)
        assert gateway.failures("write", "queue_full") == 1_000
    finally:
        own_redis.thaw()
    await gateway.memory.written()


async def test_changes_just_before_the_end_are_still_written(
    own_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(own_redis.url)
    gateway.memory.remember(key, KNOWN.warm[0], 4, 0.0)
    await gateway.memory.close()
    assert own_redis.run("EXISTS", redis_key(key)) == 1


@pytest.mark.parametrize("times", [1, 40])
async def test_lookups_at_once_get_each_its_own(own_redis: RedisServer, gateways: Gateways, times: int) -> None:
    gateway = await gateways.open(own_redis.url)
    keys = [number.to_bytes(16, "big") for number in range(times)]
    for number, key in enumerate(keys):
        gateway.memory.remember(key, Warm("a", 300.0, number), 4, 0.0)
    await gateway.memory.written()
    answers = await asyncio.gather(*(gateway.memory.lookup(key, 0.0) for key in keys))
    assert [known.warm[0].prompt_tokens for known in answers if known] == list(range(times))
