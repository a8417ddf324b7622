"""When a worker's part of the ledger is written, and what becomes of it while that is not possible."""

import logging

import pytest

from limpet_extproc.contract.ledger import HOUR_S, RowKey, Rows, RowSums
from limpet_extproc.memory.ledger import LedgerBook, LedgerUnavailableError
from limpet_extproc.process.ledger_writer import LedgerWriter

KEY = RowKey(10, "traffic", "a", "m")


class FlakyStore:
    """Keeps what it is given, unless it is `away`."""

    def __init__(self) -> None:
        self.away = self.closed = False
        self.kept: dict[RowKey, RowSums] = {}
        self.writes = 0

    async def write(self, totals: Rows) -> None:
        if self.away:
            raise LedgerUnavailableError("the disk is full")
        self.kept.update(totals)
        self.writes += 1

    async def close(self) -> None:
        self.closed = True


async def test_what_cannot_be_written_waits_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    store, book = FlakyStore(), LedgerBook()
    writer = LedgerWriter(book, store, lambda: 10.0 * HOUR_S)
    with caplog.at_level(logging.INFO):
        store.away = True
        for _ in range(3):
            book.add(KEY, RowSums(1, paid_usd=1.0))
            await writer.write()
        store.away = False
        await writer.write()
    assert store.kept == {KEY: RowSums(3, paid_usd=3.0)}
    assert [record.getMessage() for record in caplog.records] == [
        "the ledger cannot be written and waits in this process: the disk is full",
        "the ledger is written again",
    ]


async def test_nothing_is_written_where_nothing_is_new() -> None:
    store, book = FlakyStore(), LedgerBook()
    writer = LedgerWriter(book, store, lambda: 10.0 * HOUR_S)
    await writer.write()
    book.add(KEY, RowSums(1))
    await writer.write()
    await writer.write()
    assert store.writes == 1


async def test_what_is_counted_and_not_entered_yet_is_written_too() -> None:
    store, book = FlakyStore(), LedgerBook()
    counted = [RowSums(1, paid_usd=1.0), RowSums(1, paid_usd=2.0)]
    writer = LedgerWriter(book, store, lambda: 10.0 * HOUR_S, lambda: book.add(KEY, counted.pop()))
    await writer.write()
    assert store.kept == {KEY: RowSums(1, paid_usd=2.0)}
    await writer.close()
    assert store.kept == {KEY: RowSums(2, paid_usd=3.0)}


async def test_the_last_of_it_is_written_at_the_end() -> None:
    store, book = FlakyStore(), LedgerBook()
    book.add(KEY, RowSums(1))
    await LedgerWriter(book, store, lambda: 10.0 * HOUR_S).close()
    assert store.kept
    assert store.closed


async def test_a_worker_without_a_place_for_it_forgets_its_hours() -> None:
    now_s = 10.0 * HOUR_S
    book = LedgerBook()
    writer = LedgerWriter(book, None, lambda: now_s)
    book.add(KEY, RowSums(1))
    await writer.write()
    assert not book.unwritten()
    await writer.close()
