"""Where heads are warm: what both memories must do, and that they do the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import reduce

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.extproc.memory.conftest import PROVIDERS, Gateways
from tests.extproc.memory.redis_server import RedisServer

from limpet_extproc.memory import PENDING_S
from limpet_extproc.memory.head_table import DropHeads, ExpectHeads, HeadChange, HeadTable, NoteHeads, table_changed
from limpet_extproc.memory.heads import HeadMemory, WarmHead
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.redis.address import parse
from limpet_extproc.memory.redis.errors import RedisError
from limpet_extproc.memory.redis.layout import HEADS, decode_heads, encode, redis_key
from limpet_extproc.memory.redis.redis_heads import MOST_STALE_S, STALE_SHARE
from limpet_extproc.memory.redis.short_names import ShortNames
from limpet_extproc.memory.redis.store import open_store

NAMES = ShortNames(lambda: PROVIDERS)


@pytest_asyncio.fixture(params=["in_process", "redis"])
async def heads(
    request: pytest.FixtureRequest, gateways: Gateways, shared_redis: RedisServer
) -> AsyncIterator[HeadMemory]:
    if request.param == "redis":
        yield (await gateways.memory_at(shared_redis.url)).heads
    else:
        yield InProcessHeads()


@pytest.fixture
def root(numbers: Iterator[int]) -> bytes:
    return b"root" + next(numbers).to_bytes(4, "big")


async def test_a_head_is_found_by_what_begins_with_it(heads: HeadMemory, root: bytes) -> None:
    long, longer = b"\0long\xff\xff\xff", b"longer !"
    heads.note((root, long), "a", 300.0, 0.0)
    heads.note((root, longer), "b", 200.0, 1.0)
    known = await heads.lookup((root, long, b"stranger"), 1.0)
    assert known == {
        root: (WarmHead("b", 200.0), WarmHead("a", 300.0)),
        long: (WarmHead("a", 300.0),),
    }


async def test_nothing_is_known_of_another_head(heads: HeadMemory, root: bytes) -> None:
    heads.note((root,), "a", 300.0, 0.0)
    assert not await heads.lookup((b"stranger",), 0.0)


async def test_a_head_goes_cold(heads: HeadMemory, root: bytes) -> None:
    heads.note((root,), "a", 300.0, 0.0)
    heads.note((root,), "b", 400.0, 0.0)
    assert await heads.lookup((root,), 300.0) == {root: (WarmHead("b", 400.0),)}
    assert not await heads.lookup((root,), 400.0)


async def test_a_head_is_on_its_way_until_it_is_noted(heads: HeadMemory, root: bytes) -> None:
    heads.expect((root,), "a", 10.0)
    heads.expect((root,), "a", 20.0)
    assert await heads.lookup((root,), 20.0) == {root: (WarmHead("a", 10.0 + PENDING_S, 10.0),)}
    heads.note((root,), "a", 300.0, 21.0)
    heads.expect((root,), "a", 22.0)
    assert await heads.lookup((root,), 22.0) == {root: (WarmHead("a", 300.0),)}


async def test_what_never_arrives_is_expected_for_a_while(heads: HeadMemory, root: bytes) -> None:
    heads.expect((root,), "a", 10.0)
    assert await heads.lookup((root,), 9.9 + PENDING_S)
    assert not await heads.lookup((root,), 10.0 + PENDING_S)
    heads.expect((root,), "a", 500.0)
    assert await heads.lookup((root,), 500.0) == {root: (WarmHead("a", 500.0 + PENDING_S, 500.0),)}


async def test_after_a_failure_only_what_is_warm_is_known(heads: HeadMemory, root: bytes) -> None:
    heads.note((root,), "a", 300.0, 0.0)
    heads.expect((root, b"longer !"), "a", 1.0)
    heads.drop((root, b"longer !"), "a")
    heads.drop((root,), "never heard of")
    assert await heads.lookup((root, b"longer !"), 1.0) == {root: (WarmHead("a", 300.0),)}


async def test_a_head_of_many_stays_when_those_of_single_conversations_leave(heads: HeadMemory, root: bytes) -> None:
    for _ in range(2):
        heads.expect((root,), "a", 5.0)
    heads.note((root,), "a", 2000.0, 6.0)
    for number in range(200):
        heads.note((root, number.to_bytes(8, "big")), "a", 5000.0, 10.0)
    known = await heads.lookup((root, *(number.to_bytes(8, "big") for number in range(200))), 10.0)
    assert set(known) == {root, *(number.to_bytes(8, "big") for number in range(200 - 63, 200))}


async def test_the_turns_of_one_conversation_do_not_push_out_what_many_begin_with(
    heads: HeadMemory, root: bytes
) -> None:
    shared = (root, b"shared !")
    for conversation in range(3):
        heads.expect((*shared, conversation.to_bytes(8, "big")), "a", 1.0)
    heads.note(shared, "a", 5000.0, 2.0)
    for turn in range(3):
        for number in range(60):
            heads.note((root, (100 + number).to_bytes(8, "big")), "b", 5000.0, 10.0 + turn)
    for number in range(40):
        heads.note((root, (200 + number).to_bytes(8, "big")), "b", 5000.0, 20.0)
    known = await heads.lookup(shared, 20.0)
    assert all("a" in {place.provider for place in known[each]} for each in shared)


async def test_news_that_change_little_are_not_written(
    shared_redis: RedisServer, gateways: Gateways, root: bytes
) -> None:
    memory = await gateways.memory_at(shared_redis.url)
    ttl_s = 300.0
    for now_s in range(0, 300, 10):
        memory.heads.note((root,), "a", now_s + ttl_s, now_s)
        known = await memory.heads.lookup((root,), now_s)
        assert known[root][0].until_s >= now_s + ttl_s * (1 - STALE_SHARE)
    await memory.written()
    assert 0 < int(shared_redis.run("PTTL", redis_key(HEADS + root))) <= ttl_s * 1000


async def test_what_redis_has_lost_is_no_longer_on_its_way_once_it_was_answered(
    own_redis: RedisServer, gateways: Gateways, root: bytes
) -> None:
    heads = (await gateways.memory_at(own_redis.url)).heads
    heads.note((root,), "a", 7200.0, 0.0)
    assert await heads.lookup((root,), 1.0)
    own_redis.run("FLUSHALL")
    heads.expect((root,), "a", 10.0)
    heads.note((root,), "a", 7210.0, 11.0, expected_s=10.0)
    assert await heads.lookup((root,), 12.0) == {root: (WarmHead("a", 7210.0),)}


async def test_what_redis_has_lost_is_written_again_by_later_turns(
    own_redis: RedisServer, gateways: Gateways, root: bytes
) -> None:
    heads = (await gateways.memory_at(own_redis.url)).heads
    heads.note((root,), "a", 7200.0, 0.0)
    assert await heads.lookup((root,), 1.0)
    own_redis.run("FLUSHALL")
    heads.note((root,), "a", 7230.0, 30.0)
    assert not await heads.lookup((root,), 31.0)
    heads.note((root,), "a", 7200.0 + MOST_STALE_S + 1, MOST_STALE_S + 1)
    assert await heads.lookup((root,), MOST_STALE_S + 2)


async def test_a_value_of_another_version_is_no_table(
    shared_redis: RedisServer, gateways: Gateways, root: bytes
) -> None:
    gateway = await gateways.open(shared_redis.url)
    misshapen = (
        "rows",
        {"rows": 1},
        [5],
        [["x"]],
        [["c2hvcnRlc3Q", "abcdefgh", "300", 0, 1]],
        [["c2hvcnRlc3Q", "abcdefgh", 300.0, None, 1]],
        [["c2hvcnRlc3Q", "abcdefgh", 300.0, 0, 1, 1]],
        [["c2hvcnRlc3Q", "abcdefgh", float("inf"), 0, 1]],
        [["of no eight bytes", "abcdefgh", 300.0, 0, 1]],
        [["c2hvcnRlc3Q", "abcdefgh", 300.0, 0, 1.5]],
    )
    foreign = [b"\xc1", b"\x92\x02\x90", b"\x92\x01\x91", *(msgspec.msgpack.encode((1, each)) for each in misshapen)]
    for value in foreign:
        shared_redis.run("SET", redis_key(HEADS + root), value)
        assert not await gateway.memory.heads.lookup((root,), 0.0)
        gateway.memory.heads.expect((root,), "a", 1.0)
        await gateway.memory.written()
        assert await gateway.memory.heads.lookup((root,), 1.0) == {root: (WarmHead("a", 1.0 + PENDING_S, 1.0),)}
    assert gateway.failures("lookup", "version") == len(foreign)
    assert gateway.failures("write", "error") == 0


async def test_a_process_keeps_a_bounded_number() -> None:
    heads = InProcessHeads(max_rows=4)
    for name in (b"1", b"2", b"3"):
        heads.note((name, b"longer !"), "a", 300.0, 0.0)
    assert len(heads) == 4
    assert not await heads.lookup((b"1",), 0.0)
    assert await heads.lookup((b"3",), 0.0)
    heads.expect((b"4",), "b", 1000.0)
    assert len(heads) == 3
    heads.drop((b"4",), "b")
    assert len(heads) == 2


_HASHES = st.lists(st.integers(0, 90), min_size=1, max_size=40, unique=True).map(
    lambda numbers: tuple(number.to_bytes(8, "big") for number in numbers)
)
_PROVIDER = st.sampled_from(PROVIDERS[:3])
_TIMES = st.integers(1, 500).map(float)
"""Redis lets what is over go by its own clock, but none of these is over within a moment."""
_CHANGES = st.lists(
    st.one_of(
        st.builds(ExpectHeads, _HASHES, _PROVIDER, _TIMES),
        st.builds(NoteHeads, _HASHES, _PROVIDER, _TIMES, _TIMES),
        st.builds(DropHeads, _HASHES, _PROVIDER),
    ),
    max_size=12,
)


def test_the_script_follows_the_rules(shared_redis: RedisServer, numbers: Iterator[int]) -> None:
    with asyncio.Runner() as runner:
        no_rows: HeadTable = {}
        store = runner.run(open_store(parse(shared_redis.url), None))

        @settings(max_examples=150, deadline=None)
        @given(st.lists(_CHANGES, max_size=4))
        def check(batches: list[list[HeadChange]]) -> None:
            key, table = next(numbers).to_bytes(8, "big"), no_rows.copy()
            for changes in filter(None, batches):
                table = reduce(table_changed, changes, table)
                (value,) = runner.run(
                    store.write([(redis_key(HEADS + key), [encode(each, NAMES) for each in changes])])
                )
                assert not isinstance(value, RedisError)
                found = decode_heads(value, NAMES) if value else no_rows
                assert found is not None
                last_s = next((each.now_s for each in reversed(changes) if not isinstance(each, DropHeads)), None)
                if last_s is None or any(row.is_known(last_s) for row in table.values()):
                    assert [*found.values()] == [*table.values()]
                else:  # Redis lets it go at once, or in a moment
                    shared_redis.run("DEL", redis_key(HEADS + key))
                    table = no_rows.copy()

        try:
            check()
        finally:
            runner.run(store.close())
