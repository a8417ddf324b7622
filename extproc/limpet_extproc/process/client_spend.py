"""What each client has spent today, for its limit by the day: by the ledger, and since that was read by our own bills.

The ledger has what all workers have spent, also before this one began. A request never waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Never

from limpet_extproc.contract.ledger import HOUR_S, Rows
from limpet_extproc.memory.ledger import LedgerUnavailableError
from limpet_extproc.memory.ledger_file import read_ledger_file
from limpet_extproc.process.settings import WorkerSettings

_log = logging.getLogger(__name__)

READ_EVERY_S: Final = 5.0
_DAY_HOURS: Final = 24

ReadLedger = Callable[[int, int], Awaitable[Rows]]
"""All rows from this hour to that, the last not among them. Raises LedgerUnavailableError."""


class ClientSpend:
    """Dollars by client, of the day that is on in UTC."""

    def __init__(
        self, read: ReadLedger | None, write: Callable[[], Awaitable[bool]], clock: Callable[[], float]
    ) -> None:
        """`read` is None where no ledger is kept.

        `write` writes what it still lacks of this worker's bills, and says whether it has all of them then.
        """
        self._read = read
        self._write = write
        self._clock = clock
        self._away = False
        self._day = self._today()
        self._known: Mapping[str, float] = {}
        """As the ledger had it; the next is what has been added since."""
        self._since: dict[str, float] = {}
        self._closed: tuple[tuple[int, int], Mapping[str, float]] = (0, 0), {}
        """Of hours to which nobody adds any more: from the first to the last of them."""

    def add(self, client: str, usd: float) -> None:
        """A request of this client has cost so much."""
        self._turn()
        self._since[client] = self._since.get(client, 0.0) + usd

    def usd(self, client: str) -> float:
        """What it has spent today, as far as is known here."""
        self._turn()
        return self._known.get(client, 0.0) + self._since.get(client, 0.0)

    async def run(self, wanted: Callable[[], bool]) -> Never:
        """Read for ever, while it is `wanted`."""
        while True:
            if wanted():
                await self.refresh()
            await asyncio.sleep(READ_EVERY_S)

    async def refresh(self) -> None:
        """Take in what the others have spent; what cannot be read now is read the next time."""
        if self._read is None:
            return
        self._turn()
        counted, self._since = self._since, {}
        day = self._day
        known = None
        try:
            # What is not written is not read either.
            if await self._write():
                known = await self._spent(day, self._read)
                self._tell_away("")
        except LedgerUnavailableError as error:
            self._tell_away(str(error))
        if self._today() != day:
            return
        if known is None:
            for client, usd in counted.items():
                self._since[client] = self._since.get(client, 0.0) + usd
        else:
            self._known = known

    def _tell_away(self, why: str) -> None:
        """The log says when the ledger begins to be away, and when it is back."""
        if why and not self._away:
            _log.warning("what clients have spent elsewhere is not known at present, for their dollars a day: %s", why)
        elif self._away and not why:
            _log.info("what clients have spent elsewhere is known again")
        self._away = bool(why)

    async def _spent(self, day: int, read: ReadLedger) -> Mapping[str, float]:
        hour = int(self._clock() // HOUR_S)
        begin = day * _DAY_HOURS
        recent = max(begin, hour - 1)
        if self._closed[0] != (begin, recent):
            self._closed = (begin, recent), _by_client(await read(begin, recent)) if recent > begin else {}
        total = dict(self._closed[1])
        for client, usd in _by_client(await read(recent, hour + 1)).items():
            total[client] = total.get(client, 0.0) + usd
        return total

    def _turn(self) -> None:
        """With a new day all begin anew."""
        today = self._today()
        if today != self._day:
            self._day, self._known, self._since = today, {}, {}

    def _today(self) -> int:
        return int(self._clock() // HOUR_S) // _DAY_HOURS


def _by_client(rows: Rows) -> dict[str, float]:
    """By tenant: those that are clients are called by their names."""
    spent: dict[str, float] = {}
    for key, sums in rows.items():
        spent[key.tenant] = spent.get(key.tenant, 0.0) + sums.paid_usd
    return spent


def ledger_reader(settings: WorkerSettings) -> ReadLedger | None:
    """The ledger that `ledger_writer` writes."""
    if settings.ledger_file is not None:
        return _file_reader(settings.ledger_file)
    return _redis_reader(settings.redis_url, settings.redis_credentials) if settings.redis_url is not None else None


def _file_reader(path: Path) -> ReadLedger:
    async def read(from_hour: int, to_hour: int) -> Rows:
        # Before the first bill there is no file.
        return await asyncio.to_thread(lambda: read_ledger_file(path, from_hour, to_hour) if path.exists() else {})

    return read


def _redis_reader(url: str, credentials: Path | None) -> ReadLedger:
    # Imported here: a laptop's worker has no use for it and starts a quarter of a second sooner.
    from limpet_extproc.memory.redis.address import parse
    from limpet_extproc.memory.redis.errors import RedisError
    from limpet_extproc.memory.redis.ledger import read_redis_ledger
    from limpet_extproc.memory.redis.store import open_store

    async def read(from_hour: int, to_hour: int) -> Rows:
        try:
            store = await open_store(parse(url), credentials)
        except RedisError as error:
            raise LedgerUnavailableError(f"Redis: {error}") from error
        try:
            return await read_redis_ledger(store, from_hour, to_hour)
        finally:
            await store.close()

    return aside(read)


def aside(read: ReadLedger) -> ReadLedger:
    """The same in a thread with a loop of its own: to read thousands of rows takes long, and requests do not wait."""

    async def read_aside(from_hour: int, to_hour: int) -> Rows:
        async def all_of_it() -> Rows:
            return await read(from_hour, to_hour)

        return await asyncio.to_thread(lambda: asyncio.run(all_of_it()))

    return read_aside
