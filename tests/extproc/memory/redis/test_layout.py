"""What stands in Redis: short, versioned, and nothing that a newer or a broken writer left does harm."""

from collections.abc import Callable, Collection, Iterator

import msgspec
import pytest
from tests.extproc.memory.conftest import PROVIDERS, Gateways
from tests.extproc.memory.redis_server import RedisServer

from limpet_extproc.memory import FAILED_S, PENDING_S, LastFailure, Remembered, ServedTurn, Warm
from limpet_extproc.memory.redis.changes import NOTHING, SHOWN_S
from limpet_extproc.memory.redis.layout import decode, redis_key
from limpet_extproc.memory.redis.short_names import ShortNames

NAMES = ShortNames(lambda: PROVIDERS)
LONGEST = "n" * 63 + "/" + "p" * 253

INFINITE = float("inf")
PLACES = (("abcdefgh", 9e9, 1, 1),)
PACE = (1, 1.0, 1.0, 1, 1.0, 1.0, 1)
FOREIGN = {
    "of the next version": msgspec.msgpack.encode((2, "", 0.0, ())),
    "of the next version, in another form": msgspec.msgpack.encode((2, {"warm": 1})),
    "no array": msgspec.msgpack.encode({"version": 1}),
    "too short": msgspec.msgpack.encode((1, "")),
    "not MessagePack": b"\xc1 what is this",
    "empty": b"",
    "of another form at its end": msgspec.msgpack.encode((1, "", 0.0, (), "later")),
    "with half a failure": msgspec.msgpack.encode((1, "", 0.0, (), (1.0,))),
    "with a place that is none": msgspec.msgpack.encode((1, "", 0.0, (5,))),
    "with a place without its end": msgspec.msgpack.encode((1, "", 0.0, (("abcdefgh", 9e9, 1),))),
    "with a time that is a text": msgspec.msgpack.encode((1, "", 0.0, (("abcdefgh", "9e9", 1, 1),))),
    "with part of a token": msgspec.msgpack.encode((1, "", 0.0, (("abcdefgh", 9e9, 1.5, 1),))),
    "with a place that is warm for ever": msgspec.msgpack.encode((1, "", 0.0, (("abcdefgh", INFINITE, 1, 1),))),
    "pending since no number": msgspec.msgpack.encode((1, "abcdefgh", float("nan"), ())),
    "with a failure of no names": msgspec.msgpack.encode((1, "", 0.0, (), (1.0, (5,)))),
    "with half a pace": msgspec.msgpack.encode((1, "", 0.0, (), (0.0, ()), ((1, 2.0), "hit", ()))),
    "with a pace of texts": msgspec.msgpack.encode((1, "", 0.0, (), (0.0, ()), (("1",) * 7, "hit", ()))),
    "with a chain that is none": msgspec.msgpack.encode((1, "", 0.0, PLACES, (0.0, ()), (PACE, "hit", (True,)))),
    "cut off": msgspec.msgpack.encode((1, "", 0.0, (("abcdefgh", 1.0, 1, 1),)))[:-3],
}


def long_to_one(names: list[str]) -> Callable[[], Collection[str]]:
    return lambda: names


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN.keys())
async def test_a_value_of_another_version_is_no_memory_and_is_written_over(
    value: bytes, shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(shared_redis.url)
    shared_redis.run("SET", redis_key(key), value)
    assert await gateway.memory.lookup(key, 0.0) is None
    assert gateway.failures("lookup", "version") == 1
    gateway.memory.forget(key, "a")
    await gateway.memory.written()
    assert shared_redis.run("GET", redis_key(key)) == value
    gateway.memory.remember(key, Warm("a", 300.0), 4, 0.0)
    assert await gateway.memory.lookup(key, 0.0) == Remembered((Warm("a", 300.0),))
    await gateway.memory.written()
    assert await gateway.memory.lookup(key, 0.0) == Remembered((Warm("a", 300.0),))
    assert gateway.failures("write", "error") == 0


async def test_a_key_with_a_foreign_value_is_not_touched(
    shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(shared_redis.url)
    shared_redis.run("LPUSH", redis_key(key), "not ours")
    gateway.memory.expect(key, "a", 0.0)
    await gateway.memory.written()
    assert await gateway.memory.lookup(key, 0.0) is None
    assert (gateway.failures("write", "error"), gateway.failures("lookup", "error")) == (1, 1)


async def test_conversations_expire(shared_redis: RedisServer, gateways: Gateways, key: bytes) -> None:
    gateway = await gateways.open(shared_redis.url)

    async def left_s() -> float:
        await gateway.memory.written()
        return int(shared_redis.run("PTTL", redis_key(key))) / 1000

    gateway.memory.expect(key, "a", 1000.0)
    assert PENDING_S - 30 < await left_s() <= PENDING_S
    gateway.memory.remember(key, Warm("a", 1000.0 + 3600), 4, 1000.0)
    assert 3570 < await left_s() - SHOWN_S <= 3600
    gateway.memory.remember(key, Warm("b", 1000.0 + 300), 4, 1000.0)
    assert 3570 < await left_s() - SHOWN_S <= 3600
    gateway.memory.forget(key, "b")
    assert 3570 < await left_s() - SHOWN_S <= 3600
    gateway.memory.forget(key, "a")
    await gateway.memory.written()
    assert shared_redis.run("EXISTS", redis_key(key)) == 0
    gateway.memory.note_failure(key, LastFailure(("a",), 1000.0))
    assert FAILED_S <= await left_s() <= PENDING_S


async def test_the_longest_names_take_no_more_room_than_the_shortest(
    shared_redis: RedisServer, gateways: Gateways, numbers: Iterator[int]
) -> None:
    long = [f"{LONGEST[:-1]}{number}" for number in range(4)]
    gateway = await gateways.open(shared_redis.url, providers=long_to_one(long))
    stranger = await gateways.open(shared_redis.url, providers=long_to_one(long))
    key = next(numbers).to_bytes(16, "big")
    for name in long:
        gateway.memory.remember(key, Warm(name, 1e9 + 0.123, 100_000, 99_000), 4, 1e9)
    await gateway.memory.written()
    assert await stranger.memory.lookup(key, 1e9) == Remembered(
        tuple(Warm(name, 1e9 + 0.123, 100_000, 99_000) for name in reversed(long))
    )
    assert shared_redis.run("STRLEN", redis_key(key)) <= 4 * 32
    assert shared_redis.run("MEMORY", "USAGE", redis_key(key)) <= 300


async def test_an_unknown_providers_short_name_is_no_providers_name(
    shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    names: list[list[str]] = [["a"]]
    gateway = await gateways.open(shared_redis.url)
    other = await gateways.open(shared_redis.url, providers=lambda: names[0])
    gateway.memory.remember(key, Warm("short", 300.0), 4, 0.0)
    await gateway.memory.written()
    known = await other.memory.lookup(key, 0.0)
    assert known is not None
    assert known.warm[0].provider not in PROVIDERS
    names[0] = ["a", "short"]
    assert await other.memory.lookup(key, 0.0) == Remembered((Warm("short", 300.0),))


def test_the_documented_layout_is_the_one_that_is_read() -> None:
    value = msgspec.msgpack.encode((1, "", 0.0, ((NAMES.short("a"), 300.5, 7, 5),)))
    state = decode(value, NAMES)
    assert state is not None
    assert state.warm == (Warm("a", 300.5, 7, 5),)
    assert NAMES.short("a") == ShortNames(lambda: ()).short("a")
    assert len(NAMES.short(LONGEST)) == 8


class _Earlier(msgspec.Struct, array_like=True):
    """A value as releases read it that knew nothing of failures."""

    version: int
    pending: str
    since_s: float
    warm: tuple[tuple[str, float, int, int], ...]


async def test_earlier_releases_read_a_value_with_a_failure_as_one_without(
    shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(shared_redis.url)
    gateway.memory.remember(key, Warm("a", 300.0, 7, 5), 4, 0.0)
    gateway.memory.note_failure(key, LastFailure(("b", "c"), 10.5))
    await gateway.memory.written()
    value = shared_redis.run("GET", redis_key(key))
    assert msgspec.msgpack.decode(value)[4] == [10.5, [NAMES.short("b"), NAMES.short("c")]]
    assert msgspec.msgpack.decode(value, type=_Earlier).warm == ((NAMES.short("a"), 300.0, 7, 5),)


def test_a_value_without_a_failure_is_written_as_earlier_releases_write_it() -> None:
    state = decode(msgspec.msgpack.encode((1, "", 0.0, ())), NAMES)
    assert state == NOTHING


async def test_earlier_releases_pass_over_chains_and_pace(
    shared_redis: RedisServer, gateways: Gateways, key: bytes
) -> None:
    gateway = await gateways.open(shared_redis.url)
    warm = Warm("a", 300.0, 7, 5, b"chain\xff\0\1")
    gateway.memory.remember(key, warm, 4, 0.0, ServedTurn(0.5, 7, 3, "cold_start"))
    await gateway.memory.written()
    value = shared_redis.run("GET", redis_key(key))
    assert msgspec.msgpack.decode(value, type=_Earlier).warm == ((NAMES.short("a"), 300.0, 7, 5),)
    since = msgspec.msgpack.decode(value, type=_SinceFailures)
    assert since.failure == (0.0, ())
    shared_redis.run("SET", redis_key(key), msgspec.msgpack.encode(since))
    assert await gateway.memory.lookup(key, 0.0) == Remembered((Warm("a", 300.0, 7, 5),))


class _SinceFailures(_Earlier, array_like=True):
    """A value as releases read it that knew nothing of chains."""

    failure: tuple[float, tuple[str, ...]] | None = None
