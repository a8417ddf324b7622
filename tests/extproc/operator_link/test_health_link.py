"""A worker's end of the health stream, against a small operator that a test can end, break and leave out."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import pytest
from tests.extproc.catalog_stream import Operator as CatalogsAlone
from tests.waiting import until

from limpet_extproc.contract.health_stream import (
    HEALTH_METHOD,
    HealthHello,
    HealthOrder,
    HealthReport,
    Observed,
    ProbeAnswer,
    Probed,
    ProbeRequest,
    ProbeVerdicts,
    Relayed,
    decode_report,
    encode,
)
from limpet_extproc.operator_link.event_queue import EventQueue
from limpet_extproc.operator_link.health_link import MAX_PROBES, HealthHooks, HealthLink, SendProbe
from limpet_extproc.operator_link.stream_tasks import StreamTasks
from limpet_extproc.providers.events import AnswerGenerated

EVENT = AnswerGenerated("a", 7, 1.0)
LINK = "limpet_extproc.operator_link.health_link"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """By Limpet; gRPC may still report the event loop of a test before."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("limpet_")]


class Operator:
    """Sends these orders to each worker and keeps its reports."""

    def __init__(self, *orders: HealthOrder | bytes) -> None:
        self.orders = orders
        self.reports: list[HealthReport] = []

    async def _health(self, reports: AsyncIterator[bytes], context: Any) -> None:
        self.reports.append(decode_report(await anext(reports)))
        await context.send_initial_metadata(())
        for order in self.orders:
            await context.write(order if isinstance(order, bytes) else encode(order))
        with suppress(asyncio.CancelledError):
            async for report in reports:
                self.reports.append(decode_report(report))

    def of(self, kind: type[Any]) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    @asynccontextmanager
    async def at(self, address: str) -> AsyncIterator["Operator"]:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        service, method = HEALTH_METHOD.strip("/").split("/")
        handler = grpc.stream_stream_rpc_method_handler(self._health)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        server.add_insecure_port(address)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(None)


class Worker:
    """A link and all that it called back; pauses are noted and short."""

    def __init__(self, address: str, send_probe: SendProbe | None = None) -> None:
        self.queue = EventQueue()
        self.came: list[object] = []
        self.connected: list[bool] = []
        self.sent = self.unreadable = 0
        self.pauses: list[float] = []
        hooks = HealthHooks(
            self.came.append,
            self.came.append,
            connected=self.connected.append,
            sent=self._count,
            unreadable=self._passed_over,
        )
        if send_probe is not None:
            hooks = HealthHooks(send_probe=send_probe)
        self.link = HealthLink(address, "node-1", self.queue, hooks, sleep=self._sleep)

    def _passed_over(self, count: int) -> None:
        self.unreadable += count

    def _count(self, events: int) -> None:
        self.sent += events

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(seconds / 50)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        async with StreamTasks() as tasks:
            tasks.start(self.link.run())
            yield self


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/operator.sock"


def raw(*events: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(events))


async def test_what_comes_down_is_handed_over_in_order(address: str) -> None:
    verdicts = ProbeVerdicts((Probed("a", "Down"),), 30.0)
    operator, worker = Operator(verdicts, Relayed(raw(EVENT, EVENT))), Worker(address)
    async with operator.at(address), worker.running():
        await until(lambda: len(worker.came) == 3)
        assert worker.came == [verdicts, EVENT, EVENT]
        assert worker.connected == [True]
        assert operator.reports == [HealthHello("node-1")]


async def test_what_waits_while_the_operator_is_away_goes_up_when_it_is_back(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "limpet_extproc")
    async with Worker(address).running() as worker:
        await until(lambda: len(worker.pauses) >= 6)
        assert worker.pauses[:6] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
        assert said(caplog) == [], "the catalog stream says that the operator is away"
        worker.queue.add(EVENT)
        async with Operator().at(address) as operator:
            await until(lambda: worker.sent == 1)
            await until(lambda: operator.of(Observed) == [Observed(raw(EVENT))])
        await until(lambda: worker.connected[-1] is False)
        await until(lambda: said(caplog))
        assert "Judging by what this gateway sees" in caplog.text
        async with Operator().at(address) as operator:
            worker.queue.add(EVENT)
            await until(lambda: operator.of(Observed) == [Observed(raw(EVENT))])


async def test_an_operator_without_this_stream_is_tried_again_and_takes_no_events(address: str) -> None:
    async with CatalogsAlone().at(address), Worker(address).running() as worker:
        worker.queue.add(EVENT)
        await until(lambda: len(worker.pauses) >= 3)
        assert True not in worker.connected
        assert worker.pauses[:3] == [0.2, 0.4, 0.8]
        assert worker.sent == 0


async def test_words_of_another_version_are_ignored_and_said_once(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    strange = Relayed(msgspec.Raw(b'[["ProviderSang","a"]]'))
    mixed = Relayed(msgspec.Raw(b'[["AnswerGenerated","b",1,1.0],["ProviderSang","a"],["AnswerGenerated","b",2,1.0]]'))
    async with Operator(strange, mixed, Relayed(raw(EVENT))).at(address), Worker(address).running() as worker:
        await until(lambda: worker.came == [AnswerGenerated("b", 1, 1.0), AnswerGenerated("b", 2, 1.0), EVENT])
        assert worker.unreadable == 2
        assert [record.levelname for record in caplog.records if record.name == LINK] == ["WARNING"]
        assert "Do all run the same version?" in caplog.text


@pytest.mark.parametrize("order", [
    b"{",
    b'{"type":"News"}',
    b'{"type":"Relayed","events":' + b"[" * 100_000,
    b'{"type":"ProbeVerdicts","probed":[["a","Down","NewCause"]],"valid_s":30}',
    b'{"type":"ProbeVerdicts","probed":[["a","Resting"]],"valid_s":30}',
    b'{"type":"ProbeVerdicts","probed":[["\xff","Down"]],"valid_s":30}',
])  # fmt: skip
async def test_an_order_of_a_newer_operator_is_passed_over_and_said_once(
    address: str, order: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Operator(order, order, Relayed(raw(EVENT))).at(address) as operator,
        Worker(address).running() as worker,
    ):
        await until(lambda: worker.came == [EVENT])
        assert operator.reports == [HealthHello("node-1")], "the stream stays open"
        assert worker.unreadable == 2
        assert [record.levelname for record in caplog.records if record.name == LINK] == ["WARNING"]
        assert "the operator speaks another language" in caplog.text


def probes(*numbers: int) -> list[ProbeRequest]:
    return [ProbeRequest(number, "a", "GET", "/models") for number in numbers]


async def test_probes_go_side_by_side_and_too_many_are_refused(address: str) -> None:
    everybody_waits = asyncio.Event()

    async def send(request: ProbeRequest) -> ProbeAnswer:
        await everybody_waits.wait()
        return ProbeAnswer(request.id, 200)

    numbers = range(1, MAX_PROBES + 3)
    async with Operator(*probes(*numbers)).at(address) as operator, Worker(address, send).running():
        await until(lambda: len(operator.of(ProbeAnswer)) == 2)
        assert {answer.id for answer in operator.of(ProbeAnswer)} == {MAX_PROBES + 1, MAX_PROBES + 2}
        assert all("probes already" in answer.failure for answer in operator.of(ProbeAnswer))
        everybody_waits.set()
        await until(lambda: len(operator.of(ProbeAnswer)) == MAX_PROBES + 2)
        assert {answer.id for answer in operator.of(ProbeAnswer) if answer.status == 200} == {*range(1, MAX_PROBES + 1)}


async def _fails(_: ProbeRequest) -> ProbeAnswer:
    raise ZeroDivisionError


async def _hangs(_: ProbeRequest) -> ProbeAnswer:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(("send", "words"), [
    (None, "sends no probes"), (_fails, "its log says how"), (_hangs, "could not send it within 1 s"),
])  # fmt: skip
async def test_a_probe_that_cannot_be_sent_has_an_answer_that_says_so(
    address: str, send: SendProbe | None, words: str
) -> None:
    request = ProbeRequest(5, "a", "GET", "/models", timeout_s=0.0)
    async with Operator(request).at(address) as operator, Worker(address, send).running():
        await until(lambda: operator.of(ProbeAnswer))
        (answer,) = operator.of(ProbeAnswer)
        assert (answer.id, answer.status) == (5, 0)
        assert words in answer.failure


async def test_an_error_of_a_task_beside_a_stream_is_not_lost() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    async def stream() -> None:
        async with StreamTasks() as tasks:
            tasks.start(broken())
            await asyncio.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        await stream()
