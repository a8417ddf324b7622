"""Handing records over to a service that is away, slow, or refuses."""

import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry
from tests.extproc.clock_loop import pass_time, run

from limpet_extproc.contract.activity import ActivityBatch, ActivityRecord, ProviderReport, decode_batch
from limpet_extproc.operator_link.activity_channel import TakingError
from limpet_extproc.process.activity_buffer import ActivityBuffer, BatchSource
from limpet_extproc.process.activity_sender import FLUSH_S, LAST_S, REPORT_EVERY_S, STARTS_S, ActivitySender
from limpet_extproc.telemetry.activity_metrics import ActivityMetrics


class Service:
    """The way to a service that is away, refuses, or does not answer, where a test says so."""

    def __init__(self) -> None:
        self.away = self.refuses = self.closed = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.at_once = self.most_at_once = 0
        self.took: list[ActivityBatch] = []

    async def send(self, batch: bytes) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.answers.wait()
        finally:
            self.at_once -= 1
        if self.away:
            raise TakingError("nothing listens there", final=False)
        if self.refuses:
            raise TakingError("not a batch", final=True)
        self.took.append(decode_batch(batch))

    async def close(self) -> None:
        self.closed = True

    @property
    def names(self) -> list[str]:
        return [record.id for batch in self.took for record in batch.records]


class Worker:
    """A sender over such a service."""

    def __init__(self) -> None:
        self.service = Service()
        self.registry = CollectorRegistry()
        self.providers: tuple[ProviderReport, ...] = (ProviderReport("a", "up"),)
        loop = asyncio.get_running_loop()
        self.sender = ActivitySender(
            ActivityBuffer(BatchSource("gateway-0", 0, 1000.0)),
            self.service,
            lambda: self.providers,
            ActivityMetrics(self.registry),
            lambda: 1000.0 + loop.time(),
        )
        self.running = loop.create_task(self.sender.run())

    def ends(self, *names: str) -> None:
        for name in names:
            self.sender.add(ActivityRecord(name, 1000.0, "gateway-0", "sticky.hit", 200, 0.1))

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("limpet_activity_records_total", {"outcome": outcome})

    async def stop(self) -> None:
        self.running.cancel()
        await self.sender.close()


def test_a_record_is_sent_within_half_a_second_and_once() -> None:
    async def story() -> None:
        worker = Worker()
        await pass_time(0)
        worker.ends("1", "2")
        await pass_time(FLUSH_S)
        assert worker.service.names == ["1", "2"]
        await pass_time(FLUSH_S)
        assert (worker.service.names, worker.counted("taken")) == (["1", "2"], 2)
        await worker.stop()

    run(story())


def test_while_the_service_is_away_all_waits_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        worker = Worker()
        worker.service.away = True
        for second in range(60):
            worker.ends(str(second))
            await pass_time(1.0)
        worker.service.away = False
        await pass_time(2.0)
        assert worker.service.names == [str(second) for second in range(60)]
        assert worker.counted("dropped") == 0
        await worker.stop()

    with caplog.at_level(logging.INFO):
        run(story())
    assert [record.message for record in caplog.records] == [
        "the activity service is away, and records wait in this process: nothing listens there",
        "the activity service takes records again",
    ]


def test_a_service_that_starts_beside_the_worker_is_not_away(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        worker = Worker()
        worker.service.away = True
        worker.ends("1")
        await pass_time(STARTS_S - 0.5)
        worker.service.away = False
        await pass_time(2.5)
        assert worker.service.names == ["1"]
        assert caplog.records == []
        worker.service.away = True
        worker.ends("2")
        await pass_time(1.0)
        assert [record.levelname for record in caplog.records] == ["WARNING"], "now it is"
        worker.service.away = False
        await worker.stop()

    with caplog.at_level(logging.INFO):
        run(story())


def test_a_slow_service_has_one_call_at_a_time() -> None:
    async def story() -> None:
        worker = Worker()
        worker.service.answers.clear()
        for number in range(5000):
            worker.ends(str(number))
        for _ in range(10):
            await pass_time(1.0)
        assert worker.service.most_at_once == 1
        worker.service.answers.set()
        for _ in range(20):
            await pass_time(FLUSH_S)
        assert len(worker.service.names) == 5000
        await worker.stop()

    run(story())


def test_what_will_never_be_taken_holds_nothing_up() -> None:
    async def story() -> None:
        worker = Worker()
        await pass_time(0)
        worker.service.refuses = True
        worker.ends("1")
        await pass_time(FLUSH_S)
        worker.service.refuses = False
        worker.ends("2")
        await pass_time(FLUSH_S)
        await pass_time(FLUSH_S)
        assert (worker.service.names, worker.service.took[-1].dropped) == (["2"], 1)
        assert (worker.counted("taken"), worker.counted("dropped")) == (1, 1)
        await worker.stop()

    run(story())


def test_how_providers_are_doing_is_told_at_once_now_and_then_and_when_it_changes() -> None:
    async def story() -> None:
        worker = Worker()
        await pass_time(0)
        told = worker.service.took
        assert [tuple(report.provider for report in each.providers) for each in told] == [("a",)]
        for _ in range(int(REPORT_EVERY_S / FLUSH_S) - 1):
            await pass_time(FLUSH_S)
        assert len(told) == 1
        await pass_time(FLUSH_S)
        assert len(told) == 2
        worker.providers = (ProviderReport("a", "down"),)
        worker.sender.providers_changed()
        await pass_time(FLUSH_S)
        assert [report.verdict for batch in told for report in batch.providers] == ["up", "up", "down"]
        await worker.stop()

    run(story())


async def _stopped(worker: Worker, seconds: float) -> bool:
    stopping = asyncio.create_task(worker.stop())
    for _ in range(int(seconds / 0.1) + 1):
        await pass_time(0.1)
    done = stopping.done()
    await stopping
    return done


@pytest.mark.parametrize("trouble", ["none", "away", "hangs"])
def test_a_worker_that_stops_hands_over_what_is_left_and_says_what_is_lost(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        worker = Worker()
        await pass_time(0)
        worker.service.away = trouble == "away"
        if trouble == "hangs":
            worker.service.answers.clear()
        worker.ends("1", "2")
        assert await _stopped(worker, LAST_S + 0.2), "it stops in time"
        assert worker.service.names == ([] if trouble != "none" else ["1", "2"])
        assert worker.service.closed

    with caplog.at_level(logging.WARNING):
        run(story())
    lost = [record.message for record in caplog.records if "are lost" in record.message]
    assert lost == (
        [] if trouble == "none" else ["records of 2 requests are lost: the activity service did not take them in time"]
    )
