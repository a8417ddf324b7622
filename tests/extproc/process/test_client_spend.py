"""What clients have spent today: by all workers as the ledger has it, and by this one since."""

import threading
from pathlib import Path

import pytest
from tests.extproc.hand_clock import HandClock
from tests.extproc.memory.redis_server import RedisServer, servers

from limpet_extproc.contract.ledger import HOUR_S, RowKey, Rows, RowSums
from limpet_extproc.memory.ledger import LedgerUnavailableError
from limpet_extproc.process.client_spend import ClientSpend, aside, ledger_reader
from limpet_extproc.process.settings import WorkerSettings

DAY = 20_000 * 24
"""The first hour of a day."""


class Ledger:
    """Rows of all workers."""

    def __init__(self) -> None:
        self.rows: dict[RowKey, RowSums] = {}
        self.away = False
        self.writes = True
        self.reads: list[tuple[int, int]] = []

    def spend(self, hour: int, client: str, usd: float) -> None:
        """Another worker's bill."""
        self.rows[RowKey(hour, "traffic", f"p{len(self.rows)}", "m", client)] = RowSums(1, paid_usd=usd)

    async def read(self, from_hour: int, to_hour: int) -> Rows:
        """See `ReadLedger`."""
        if self.away:
            raise LedgerUnavailableError("away")
        self.reads.append((from_hour, to_hour))
        return {key: sums for key, sums in self.rows.items() if from_hour <= key.hour < to_hour}

    async def write(self) -> bool:
        """Nothing: the bills of this worker are put into `rows` by the test."""
        return self.writes


def _at(hour: int) -> HandClock:
    return HandClock(float(hour * HOUR_S))


async def test_the_ledgers_dollars_of_today_and_those_since_count() -> None:
    ledger, clock = Ledger(), _at(DAY + 5)
    spend = ClientSpend(ledger.read, ledger.write, clock)
    ledger.spend(DAY - 1, "ci", 100.0)
    ledger.spend(DAY, "ci", 1.0)
    ledger.spend(DAY + 5, "ci", 2.0)
    spend.add("ci", 0.5)
    assert spend.usd("ci") == 0.5
    ledger.spend(DAY + 5, "ci", 0.5)
    await spend.refresh()
    assert spend.usd("ci") == 3.5
    spend.add("ci", 0.25)
    assert (spend.usd("ci"), spend.usd("other")) == (3.75, 0.0)


async def test_hours_that_are_over_are_read_once() -> None:
    ledger, clock = Ledger(), _at(DAY + 5)
    spend = ClientSpend(ledger.read, ledger.write, clock)
    for _ in range(3):
        await spend.refresh()
    assert ledger.reads == [(DAY, DAY + 4), *[(DAY + 4, DAY + 6)] * 3]


async def test_nothing_is_forgotten_while_the_ledger_is_away() -> None:
    ledger, clock = Ledger(), _at(DAY)
    spend = ClientSpend(ledger.read, ledger.write, clock)
    ledger.spend(DAY, "ci", 1.0)
    await spend.refresh()
    ledger.away = True
    spend.add("ci", 0.5)
    await spend.refresh()
    assert spend.usd("ci") == 1.5


async def test_what_could_not_be_written_still_counts() -> None:
    ledger, clock = Ledger(), _at(DAY)
    spend = ClientSpend(ledger.read, ledger.write, clock)
    spend.add("ci", 0.5)
    ledger.writes = False
    await spend.refresh()
    assert spend.usd("ci") == 0.5


async def test_a_new_day_begins_with_nothing() -> None:
    ledger, clock = Ledger(), _at(DAY + 23)
    spend = ClientSpend(ledger.read, ledger.write, clock)
    ledger.spend(DAY + 23, "ci", 1.0)
    await spend.refresh()
    spend.add("ci", 1.0)
    clock.now_s += HOUR_S
    assert spend.usd("ci") == 0.0
    await spend.refresh()
    assert spend.usd("ci") == 0.0


async def test_without_a_ledger_a_worker_counts_for_itself(tmp_path: Path) -> None:
    settings = WorkerSettings(socket=tmp_path / "s", control_plane="unix:x", node="n")
    assert ledger_reader(settings) is None
    spend = ClientSpend(None, Ledger().write, _at(DAY))
    spend.add("ci", 1.0)
    await spend.refresh()
    assert spend.usd("ci") == 1.0


async def test_rows_are_read_beside_the_requests() -> None:
    ledger, threads = Ledger(), list[int]()

    async def read(from_hour: int, to_hour: int) -> Rows:
        threads.append(threading.get_ident())
        return await ledger.read(from_hour, to_hour)

    ledger.spend(DAY, "ci", 1.0)
    assert await aside(read)(DAY, DAY + 1) == ledger.rows
    assert threads[0] != threading.get_ident()
    ledger.away = True
    with pytest.raises(LedgerUnavailableError, match="away"):
        await aside(read)(DAY, DAY + 1)


async def test_redis_is_read_beside_the_requests_and_told_when_it_is_away(tmp_path: Path) -> None:
    with servers(RedisServer(tmp_path)) as (redis,):
        read = ledger_reader(
            WorkerSettings(socket=tmp_path / "s", control_plane="unix:x", node="n", redis_url=redis.url)
        )
        assert read is not None
        assert await read(DAY, DAY + 1) == {}
        redis.kill()
        with pytest.raises(LedgerUnavailableError, match="Redis"):
            await read(DAY, DAY + 1)
