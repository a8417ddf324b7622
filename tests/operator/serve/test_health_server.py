"""The health stream, over gRPC on a Unix socket with the real client of the data plane."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.operator.serve.side import raw_worker
from tests.waiting import until

from limpet_extproc.contract.health_stream import (
    HEALTH_METHOD,
    HealthHello,
    ProbeAnswer,
    Probed,
    ProbeRequest,
    ProbeVerdicts,
    encode,
)
from limpet_extproc.decision.limits import Used
from limpet_extproc.operator_link.event_queue import EventQueue
from limpet_extproc.operator_link.health_link import HealthHooks, HealthLink
from limpet_extproc.providers.events import AnswerGenerated, WorkerEvent
from limpet_extproc.providers.limit_events import RequestSent, UseReported
from limpet_extproc.providers.limit_use import LimitUse
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.health_exchange import CannotAskError, HealthExchange, NoHealthPeers
from limpet_operator.serve.health_server import HealthServer
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.outbox import MAX_UNSENT
from limpet_operator.serve.tasks import beside


class Operator:
    """A health server and what it counts."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.registry = CollectorRegistry()
        self.health = HealthServer(HealthExchange(NoHealthPeers(), build_metrics(self.registry, "test")))

    @property
    def workers(self) -> int:
        return self.health.exchange.workers


class Worker:
    """A worker's link and all that came down by it."""

    def __init__(self, operator: Operator, node: str) -> None:
        self.queue = EventQueue()
        self.events: list[WorkerEvent] = []
        self.verdicts: list[ProbeVerdicts] = []
        self.probes: list[ProbeRequest] = []
        hooks = HealthHooks(self.events.append, self.verdicts.append, self._send)
        self.link = HealthLink(operator.address, node, self.queue, hooks)

    async def _send(self, request: ProbeRequest) -> ProbeAnswer:
        self.probes.append(request)
        return ProbeAnswer(request.id, 200, body=request.provider)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        async with beside(self.link.run()):
            yield self


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    operator = Operator(f"unix:{tmp_path}/operator.sock")
    server = await serve(operator.address, operator.health.handler())
    yield operator
    await server.stop(None)


def event(number: int) -> WorkerEvent:
    return AnswerGenerated("a", number, 1.0)


async def test_what_one_gateway_sees_the_other_is_told_in_order(operator: Operator) -> None:
    one, sibling, other = (Worker(operator, node) for node in ("n1", "n1", "n2"))
    async with one.running(), sibling.running(), other.running():
        await until(lambda: operator.workers == 3)
        for number in range(1200):
            one.queue.add(event(number))
        await until(lambda: len(other.events) == 1200)
        assert other.events == [event(number) for number in range(1200)]
        other.queue.add(event(7))
        await until(lambda: one.events and sibling.events)
        assert one.events == sibling.events == [event(7)]
        assert len(other.events) == 1200


async def test_gateways_tell_each_other_how_much_they_ask_of_a_provider_with_limits(operator: Operator) -> None:
    near, far = Worker(operator, "n1"), Worker(operator, "n2")
    asks, knows = LimitUse("n1/0", lambda: 1000.0), LimitUse("n2/0", lambda: 1000.0)
    async with near.running(), far.running():
        await until(lambda: operator.workers == 2)
        asks.apply(RequestSent("a", 999.5, 700))
        for report in asks.reports():
            near.queue.add(report)
        await until(lambda: far.events)
        for each in far.events:
            assert isinstance(each, UseReported)
            knows.apply_received(each)
    assert knows.used("a", 1000.0) == Used(1, 1, 700)


async def test_verdicts_and_probes_take_the_same_stream(operator: Operator) -> None:
    with pytest.raises(CannotAskError):
        await operator.health.exchange.ask(ProbeRequest(0, "a", "GET", "/models"))
    verdicts = ProbeVerdicts((Probed("a", "Down", "Overloaded"),), 60.0)
    early, late = Worker(operator, "n1"), Worker(operator, "n2")
    async with early.running():
        await until(lambda: operator.workers == 1)
        operator.health.exchange.publish(verdicts)
        await until(lambda: early.verdicts == [verdicts])
        async with late.running():
            await until(lambda: late.verdicts)
            assert late.verdicts[0].probed == verdicts.probed
            asked = [operator.health.exchange.ask(ProbeRequest(0, name, "GET", "/models")) for name in "abcd"]
            assert [answer.body for answer in await asyncio.gather(*asked)] == ["a", "b", "c", "d"]
            assert len(early.probes) == len(late.probes) == 2
        await until(lambda: operator.workers == 1)


async def test_a_worker_that_does_not_read_holds_up_nobody_and_loses_the_oldest(operator: Operator) -> None:
    listener = Worker(operator, "n2")
    big = msgspec.Raw(msgspec.json.encode([AnswerGenerated("a" * 100_000, 1, 1.0)]))
    async with listener.running(), raw_worker(operator.address, HEALTH_METHOD) as deaf:
        await deaf.write(encode(HealthHello("n3")))
        await until(lambda: operator.workers == 2)
        heard = 0
        while heard < MAX_UNSENT + 100:  # Of which the windows of the stream hold some dozens.
            heard += 25
            for _ in range(25):
                operator.health.exchange.observed_elsewhere("n1", big)
            await until(lambda so_far=heard: len(listener.events) == so_far)
        assert operator.registry.get_sample_value("limpet_dropped_reports_total")
        assert (await operator.health.exchange.ask(ProbeRequest(0, "a", "GET", "/models"), "n2")).status == 200
    await until(lambda: operator.workers == 0)


MISMATCHES = [
    (encode(ProbeAnswer(1)), "first message must be HealthHello"),
    (b"\xff", "not a message of the health stream"),
]


@pytest.mark.parametrize(("first_word", "words"), MISMATCHES)
async def test_a_stranger_is_refused_with_a_reason(operator: Operator, first_word: bytes, words: str) -> None:
    async with raw_worker(operator.address, HEALTH_METHOD) as stranger:
        await stranger.write(first_word)
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await stranger.read()
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert operator.workers == 0


async def test_a_second_hello_ends_the_stream_and_closing_does_in_good_order(operator: Operator) -> None:
    async with raw_worker(operator.address, HEALTH_METHOD) as confused:
        await confused.write(encode(HealthHello("n")))
        await confused.write(encode(HealthHello("n")))
        with pytest.raises(grpc.aio.AioRpcError, match="sends HealthHello once"):
            await confused.read()
    await until(lambda: operator.workers == 0)
    async with raw_worker(operator.address, HEALTH_METHOD) as worker:
        await worker.write(encode(HealthHello("n")))
        await until(lambda: operator.workers == 1)
        operator.health.close()
        assert await worker.code() is grpc.StatusCode.OK
