"""What every memory of objects must do. A new implementation joins by a line in `MEMORIES`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import pytest_asyncio
from tests.extproc.memory.conftest import Gateways
from tests.extproc.memory.redis_server import RedisServer

from limpet_extproc.memory import Warm
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.memory.objects import KEPT_S, ObjectMemory, ObjectPlace, PlacesUnknownError
from limpet_extproc.memory.redis.layout import OBJECT, redis_key
from limpet_extproc.memory.redis.redis_memory import RedisMemory

NOW = 1000.0


class AcrossGateways:
    """Two gateways with one Redis: one is told, the other one asked."""

    def __init__(self, told: RedisMemory, asked: RedisMemory) -> None:
        self._told = told
        self._asked = asked

    async def place(self, key: bytes, now_s: float) -> ObjectPlace | None:
        await self._told.written()
        return await self._asked.place(key, now_s)

    def note_place(self, key: bytes, place: ObjectPlace, now_s: float) -> None:
        self._told.note_place(key, place, now_s)


async def _in_process(_: Gateways, __: str) -> ObjectMemory:
    return InProcessObjects()


async def _redis(gateways: Gateways, url: str) -> ObjectMemory:
    return await gateways.memory_at(url)


async def _across(gateways: Gateways, url: str) -> ObjectMemory:
    return AcrossGateways(await gateways.memory_at(url), await gateways.memory_at(url))


MEMORIES: dict[str, Callable[[Gateways, str], Awaitable[ObjectMemory]]] = {
    "in_process": _in_process,
    "redis": _redis,
    "redis_across_gateways": _across,
}


@pytest_asyncio.fixture(params=MEMORIES.values(), ids=MEMORIES.keys())
async def objects(
    request: pytest.FixtureRequest, gateways: Gateways, shared_redis: RedisServer
) -> AsyncIterator[ObjectMemory]:
    made: ObjectMemory = await request.param(gateways, shared_redis.url)
    yield made


@pytest.fixture
def other_key(numbers: Iterator[int]) -> bytes:
    return next(numbers).to_bytes(16, "big")


async def test_an_object_is_found_where_it_was_made_and_under_its_own_key(
    objects: ObjectMemory, key: bytes, other_key: bytes
) -> None:
    assert await objects.place(key, NOW) is None
    objects.note_place(key, ObjectPlace("a", "me"), NOW)
    assert await objects.place(key, NOW) == ObjectPlace("a", "me")
    assert await objects.place(other_key, NOW) is None


async def test_nobody_takes_over_an_object_of_another(objects: ObjectMemory, key: bytes) -> None:
    objects.note_place(key, ObjectPlace("a", "me"), NOW)
    objects.note_place(key, ObjectPlace("b", "you"), NOW)
    assert await objects.place(key, NOW) == ObjectPlace("a", "me")
    objects.note_place(key, ObjectPlace("b", "you"), NOW)
    assert await objects.place(key, NOW) == ObjectPlace("a", "me")
    objects.note_place(key, ObjectPlace("c", "me"), NOW)
    assert await objects.place(key, NOW) == ObjectPlace("c", "me")


async def test_in_process_an_object_is_forgotten_when_its_time_is_over(key: bytes) -> None:
    objects = InProcessObjects()
    objects.note_place(key, ObjectPlace("a", "me"), NOW)
    assert await objects.place(key, NOW + KEPT_S - 1) == ObjectPlace("a", "me")
    assert await objects.place(key, NOW + KEPT_S) is None
    assert len(objects) == 0


async def test_in_process_only_so_many_are_kept_and_the_longest_unused_goes_first() -> None:
    objects = InProcessObjects(max_objects=2)
    for key in (b"1", b"2"):
        objects.note_place(key, ObjectPlace("a", "me"), NOW)
    await objects.place(b"1", NOW)
    objects.note_place(b"3", ObjectPlace("a", "me"), NOW)
    assert [await objects.place(key, NOW) is not None for key in (b"1", b"2", b"3")] == [True, False, True]


async def test_in_redis_it_expires_by_itself_and_is_no_conversation(
    shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    memory = await gateways.memory_at(shared_redis.url)
    memory.note_place(key, ObjectPlace("a", "me"), NOW)
    memory.remember(key, Warm("b", NOW + 60), 4, NOW)
    await memory.written()
    assert KEPT_S - 60 < int(shared_redis.run("PTTL", redis_key(OBJECT + key))) / 1000 <= KEPT_S
    assert await memory.place(key, NOW) == ObjectPlace("a", "me")
    remembered = await memory.lookup(key, NOW)
    assert remembered is not None
    assert [warm.provider for warm in remembered.warm] == ["b"]


async def test_in_redis_a_value_of_another_version_is_written_over(
    shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    memory = await gateways.memory_at(shared_redis.url)
    for value in (b"\xc1", b"\x93\x02\xa1a\xa1b", b"\xa1a"):
        shared_redis.run("SET", redis_key(OBJECT + key), value)
        assert await memory.place(key, NOW) is None
        memory.note_place(key, ObjectPlace("a", "me"), NOW)
        await memory.written()
        assert await memory.place(key, NOW) == ObjectPlace("a", "me")


async def test_while_redis_is_away_it_cannot_be_told(gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open("redis://127.0.0.1:1")
    with pytest.raises(PlacesUnknownError):
        await gateway.memory.place(key, NOW)
    assert gateway.failures("lookup", "away") == 1
