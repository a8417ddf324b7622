"""The ledger: what a worker adds up, and what a file or Redis makes of several workers' sums."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.memory.redis_server import RedisServer

from limpet_extproc.contract.ledger import HOUR_S, RowKey, Rows, RowSums, added
from limpet_extproc.memory.ledger import MOST_HOUR_ROWS, OTHERS, LedgerBook, LedgerStore, LedgerUnavailableError
from limpet_extproc.memory.ledger_file import KEPT_S, LedgerFile, read_ledger_file, write_ahead
from limpet_extproc.memory.redis.address import parse
from limpet_extproc.memory.redis.ledger import RedisLedger, read_redis_ledger
from limpet_extproc.memory.redis.store import open_store

HOUR = 500_000
ALICE = RowKey(HOUR, "traffic", "a", "m", "alice", "default")
BOB = RowKey(HOUR, "traffic", "b", "m", "bob", "default")


def spent(usd: float, requests: int = 1) -> RowSums:
    return RowSums(requests, paid_usd=usd, uncached_usd=2 * usd, spread_usd=1.5 * usd, cheapest_usd=usd)


@given(st.lists(st.tuples(st.sampled_from((ALICE, BOB)), st.integers(0, 1_000)), max_size=20))
def test_a_book_has_the_sum_of_what_was_added(entries: list[tuple[RowKey, int]]) -> None:
    book = LedgerBook()
    for key, usd in entries:
        book.add(key, spent(float(usd)))
    assert book.unwritten() == added((key, spent(float(usd))) for key, usd in entries)


def test_thousands_of_rows_make_no_collection_of_garbage_longer() -> None:
    """It stops every thread of a worker that reads them."""
    assert not gc.is_tracked(ALICE)
    assert not gc.is_tracked(spent(1.0))


def test_what_comes_while_rows_are_written_is_written_next_in_full() -> None:
    book = LedgerBook()
    book.add(ALICE, spent(1.0))
    book.add(BOB, spent(1.0))
    writing = book.unwritten()
    book.add(ALICE, spent(2.0))
    book.written(writing, HOUR * HOUR_S)
    assert book.unwritten() == {ALICE: spent(3.0, 2)}


def test_rows_of_an_hour_that_is_over_are_forgotten_once_written() -> None:
    book = LedgerBook()
    book.add(ALICE, spent(1.0))
    late = RowKey(HOUR + 1, *(getattr(ALICE, name) for name in RowKey.__struct_fields__[1:]))
    book.written(book.unwritten(), (HOUR + 1) * HOUR_S)
    book.add(late, spent(2.0))
    assert book.unwritten() == {late: spent(2.0)}


def test_too_many_tenants_share_a_row() -> None:
    book = LedgerBook()
    for number in range(MOST_HOUR_ROWS + 10):
        book.add(RowKey(HOUR, "traffic", "a", "m", str(number), "default"), spent(1.0))
    rows = book.unwritten()
    assert len(rows) == MOST_HOUR_ROWS + 1
    assert rows[RowKey(HOUR, "traffic", "a", OTHERS, OTHERS, "default")].requests == 10


def test_beyond_that_a_client_keeps_its_own_row_whatever_models_it_asks_for() -> None:
    book = LedgerBook()
    for number in range(MOST_HOUR_ROWS):
        book.add(RowKey(HOUR, "traffic", "a", "m", str(number), "default"), spent(1.0))
    for number in range(10):
        for client in ("alice", "other"):
            book.add(RowKey(HOUR, "traffic", "a", f"m{number}", client, "default"), spent(1.0), is_client=True)
        book.add(RowKey(HOUR, "traffic", "a", f"m{number}", f"stranger{number}", "default"), spent(1.0))
    rows = book.unwritten()
    assert len(rows) == MOST_HOUR_ROWS + 3
    for tenant in ("alice", "other", OTHERS):
        assert rows[RowKey(HOUR, "traffic", "a", OTHERS, tenant, "default")].requests == 10


class Place:
    """Where a ledger is kept, and how it is read."""

    def __init__(self, store: Callable[[str], LedgerStore], read: Callable[[int, int], Any]) -> None:
        self.store, self._read = store, read

    async def rows(self, from_hour: int = HOUR - 600, to_hour: int = HOUR + 10) -> Rows:
        found = self._read(from_hour, to_hour)
        return found if isinstance(found, dict) else await found


_NUMBERS = count(1)


@asynccontextmanager
async def in_a_file(directory: Path, _: Any) -> AsyncIterator[Place]:
    file = directory / "ledger.sqlite3"
    yield Place(lambda writer: LedgerFile(file, writer), lambda *hours: read_ledger_file(file, *hours))


@asynccontextmanager
async def in_redis(_: Path, server: RedisServer) -> AsyncIterator[Place]:
    address = parse(f"{server.url}/{next(_NUMBERS)}")
    store = await open_store(address, None)
    try:
        yield Place(
            lambda writer: RedisLedger(lambda: open_store(address, None), writer),
            lambda *hours: (
                read_redis_ledger(store, HOUR - 2, hours[1]) if not hours[0] else read_redis_ledger(store, *hours)
            ),
        )
    finally:
        await store.close()


PLACES = pytest.mark.parametrize("place", [in_a_file, in_redis])


@PLACES
async def test_workers_add_up_and_a_row_is_written_twice_for_nothing(
    place: Any, tmp_path: Path, shared_redis: RedisServer
) -> None:
    async with place(tmp_path, shared_redis) as kept:
        one, other = kept.store("one"), kept.store("other")
        await one.write({ALICE: spent(1.0), BOB: spent(4.0)})
        await other.write({ALICE: spent(2.0)})
        await one.write({ALICE: spent(5.0, 2)})
        await one.write({ALICE: spent(5.0, 2)})
        assert await kept.rows() == {ALICE: spent(7.0, 3), BOB: spent(4.0)}
        for each in (one, other):
            await each.close()


@PLACES
async def test_only_the_hours_that_are_asked_for_are_read(
    place: Any, tmp_path: Path, shared_redis: RedisServer
) -> None:
    async with place(tmp_path, shared_redis) as kept:
        store = kept.store("one")
        keys = [RowKey(HOUR + number, "probe", "a", "m") for number in range(4)]
        await store.write({key: spent(1.0) for key in keys})
        assert set(await kept.rows(HOUR + 1, HOUR + 3)) == set(keys[1:3])
        await store.close()


async def test_a_file_forgets_what_is_older_than_a_year_and_a_month(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    await LedgerFile(file, "one").write({ALICE: spent(1.0)})
    late = RowKey(HOUR + KEPT_S // HOUR_S + 1, "traffic", "a", "m")
    await LedgerFile(file, "two").write({late: spent(2.0)})
    assert read_ledger_file(file, 0, 1 << 40) == {late: spent(2.0)}


@pytest.mark.parametrize("version", [1, 7])
async def test_a_file_of_another_version_is_left_alone(tmp_path: Path, version: int) -> None:
    file = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"pragma user_version = {version}")
    with pytest.raises(LedgerUnavailableError, match=f"layout {version}, here 2.: move it away, and a new one begins"):
        await LedgerFile(file, "one").write({ALICE: spent(1.0)})


@pytest.mark.parametrize("content", [b"this is no database, whatever it is " * 40])
async def test_what_is_no_ledger_says_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ledger.sqlite3"
    file.write_bytes(content)
    with pytest.raises(LedgerUnavailableError, match="not a database"):
        read_ledger_file(file, 0, 1)
    with pytest.raises(LedgerUnavailableError, match="does not exist"):
        read_ledger_file(tmp_path / "none", 0, 1)


async def test_redis_that_is_away_is_tried_again(own_redis: RedisServer) -> None:
    address = parse(own_redis.url)
    ledger = RedisLedger(lambda: open_store(address, None), "one")
    await ledger.write({ALICE: spent(1.0)})
    own_redis.kill()
    with pytest.raises(LedgerUnavailableError, match="Redis"):
        await ledger.write({ALICE: spent(3.0, 2)})
    own_redis.start()
    await ledger.write({ALICE: spent(3.0, 2)})
    store = await open_store(address, None)
    assert await read_redis_ledger(store, HOUR, HOUR + 1) == {ALICE: spent(3.0, 2)}
    await store.close()
    await ledger.close()


async def test_an_empty_file_has_no_rows_and_may_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    file.touch()
    assert read_ledger_file(file, 0, 1 << 40) == {}
    await LedgerFile(file, "one").write({ALICE: spent(1.0)})
    assert read_ledger_file(file, 0, 1 << 40) == {ALICE: spent(1.0)}


async def test_many_write_to_a_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"

    async def worker(name: str) -> None:
        ledger = LedgerFile(file, name)
        for number in range(1, 6):
            await ledger.write({ALICE: spent(float(number), number)})

    await asyncio.gather(*(worker(str(number)) for number in range(8)))
    assert read_ledger_file(file, 0, 1 << 40) == {ALICE: spent(40.0, 40)}


def test_a_file_that_another_process_is_beginning_is_waited_for(tmp_path: Path) -> None:
    file, waits = tmp_path / "ledger.sqlite3", list[float]()
    with closing(sqlite3.connect(file)) as other, closing(sqlite3.connect(file, timeout=0)) as database:
        other.execute("begin exclusive")

        def sleep(s: float) -> None:
            waits.append(s)
            if len(waits) == 3:
                other.rollback()

        write_ahead(database, sleep, lambda: 0.0)
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)
    assert len(waits) == 3


def test_a_file_that_another_process_does_not_let_go_of_is_waited_for_no_longer_than_a_lock(tmp_path: Path) -> None:
    file, now_s = tmp_path / "ledger.sqlite3", 100.0

    def sleep(s: float) -> None:
        nonlocal now_s
        now_s += s

    with closing(sqlite3.connect(file)) as other, closing(sqlite3.connect(file, timeout=0)) as database:
        other.execute("begin exclusive")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write_ahead(database, sleep, lambda: now_s)
    assert 105.0 <= now_s < 106.0
