"""Writes a worker's part of the ledger every few seconds; what cannot be written waits, and no request for it."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, Never

from limpet_extproc.memory.ledger import LedgerBook, LedgerStore, LedgerUnavailableError
from limpet_extproc.memory.ledger_file import LedgerFile
from limpet_extproc.process.settings import WorkerSettings

_log = logging.getLogger(__name__)

WRITE_EVERY_S: Final = 2.0


class LedgerWriter:
    """Between a book and where it is kept."""

    def __init__(
        self,
        book: LedgerBook,
        store: LedgerStore | None,
        clock: Callable[[], float],
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """`store` is None where the ledger is not kept. `settle` enters into the book what is counted so far."""
        self._book = book
        self._store = store
        self._clock = clock
        self._settle = settle
        self._away = False

    async def run(self) -> Never:
        """Write for ever."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> bool:
        """Write what is new; whether all is written. The log says when that begins to fail, and when it works again."""
        self._settle()
        rows = self._book.unwritten()
        if not rows:
            return True
        try:
            if self._store is not None:
                await self._store.write(rows)
        except LedgerUnavailableError as error:
            if not self._away:
                _log.warning("the ledger cannot be written and waits in this process: %s", error)
            self._away = True
            return False
        if self._away:
            _log.info("the ledger is written again")
        self._away = False
        self._book.written(rows, self._clock())
        return True

    async def close(self) -> None:
        """Write the last of it, and no more."""
        await self.write()
        if self._store is not None:
            await self._store.close()


def ledger_writer(
    settings: WorkerSettings, book: LedgerBook, clock: Callable[[], float], settle: Callable[[], None]
) -> LedgerWriter:
    """As this worker is to keep its ledger: in a file, in the memory that all share, or not at all."""
    # No other process, nor this one after another start, may ever write under the same name.
    writer = secrets.token_hex(8)
    store: LedgerStore | None = None
    if settings.ledger_file is not None:
        store = LedgerFile(settings.ledger_file, writer)
    elif settings.redis_url is not None:
        store = _in_redis(settings.redis_url, settings.redis_credentials, writer)
    return LedgerWriter(book, store, clock, settle)


def _in_redis(url: str, credentials: Path | None, writer: str) -> LedgerStore:
    # Imported here: a laptop's worker has no use for it and starts a quarter of a second sooner.
    from limpet_extproc.memory.redis.address import parse
    from limpet_extproc.memory.redis.ledger import RedisLedger
    from limpet_extproc.memory.redis.store import open_store

    address = parse(url)
    return RedisLedger(lambda: open_store(address, credentials), writer)
