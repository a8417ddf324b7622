"""Dollars a day of one client over several workers, with a real Redis that goes away, comes back and forgets."""

import logging
from pathlib import Path

import pytest
from tests.extproc.hand_clock import HandClock
from tests.extproc.memory.redis_server import RedisServer, servers

from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.memory.ledger import LedgerBook
from limpet_extproc.process.client_spend import ClientSpend, ledger_reader
from limpet_extproc.process.ledger_writer import ledger_writer
from limpet_extproc.process.settings import WorkerSettings

pytestmark = pytest.mark.slow

HOUR = 20_000 * 24 + 5


class Worker:
    """What one worker has of a client's spending."""

    def __init__(self, redis_url: str, clock: HandClock, directory: Path) -> None:
        settings = WorkerSettings(socket=directory / "s", control_plane="unix:x", node="n", redis_url=redis_url)
        self._book = LedgerBook()
        self.ledger = ledger_writer(settings, self._book, clock, lambda: None)
        self.spend = ClientSpend(ledger_reader(settings), self.ledger.write, clock)

    def bill(self, usd: float) -> None:
        """A request of the client has ended here."""
        self._book.add(RowKey(HOUR, "traffic", "a", "m", "ci", "default"), RowSums(1, paid_usd=usd))
        self.spend.add("ci", usd)

    @property
    def usd(self) -> float:
        return self.spend.usd("ci")


async def test_each_worker_knows_what_all_have_spent_and_nobody_is_refused_for_what_was_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = HandClock(float(HOUR * HOUR_S))
    with servers(RedisServer(tmp_path / "redis")) as (redis,):
        one, other = (Worker(redis.url, clock, tmp_path) for _ in range(2))
        for number in range(4):
            (one, other)[number % 2].bill(1.0)
        assert (one.usd, other.usd) == (2.0, 2.0), "until they have read what the other wrote"
        for each in (one, other, one):
            await each.spend.refresh()
        assert (one.usd, other.usd) == (4.0, 4.0)

        redis.kill()
        one.bill(1.0)
        for each in (one, other, one):
            await each.spend.refresh()
        assert (one.usd, other.usd) == (5.0, 4.0), "each goes on with what it knows"
        said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
        assert sum("what clients have spent elsewhere is not known" in each for each in said) == 1
        assert sum("the ledger cannot be written" in each for each in said) == 1

        # It was restarted and has lost all: what is written again is the sum of the rows that changed.
        redis.start()
        for each in (one, other, one):
            await each.spend.refresh()
        assert (one.usd, other.usd) == (3.0, 3.0)
        other.bill(1.0)
        for each in (other, one, other):
            await each.spend.refresh()
        assert (one.usd, other.usd) == (6.0, 6.0), "a worker writes its whole row as soon as it adds to it"
        assert "what clients have spent elsewhere is known again" in caplog.text
        for each in (one, other):
            await each.ledger.close()
