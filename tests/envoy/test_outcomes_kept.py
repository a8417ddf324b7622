"""Every request under load has one outcome, also while the worker that reads them stops for a second."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import psutil
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.envoy.cast import LONG, say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.group import all_decide, gateway_of_two, shared_memory, workers_of
from tests.envoy.stage import Stage
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.keeper import ask
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_REQUESTS: Final = 400
_AT_ONCE: Final = 16
_ANSWER_S: Final = 0.2
"""So long that some requests are always on their way, and end while nobody reads."""
_STOP_S: Final = 1.0
_SHOWN_S: Final = "0.5"
"""A bound of both histograms that a stop of a second exceeds."""
_LATE: Final = ("limpet_outcome_delay_seconds", "limpet_event_loop_lag_seconds")


@pytest_asyncio.fixture(params=[1, 2], ids=["one worker", "two workers"], loop_scope="session")
async def counted(
    request: pytest.FixtureRequest, numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> AsyncIterator[Stage]:
    """A gateway for this story alone."""
    async with AsyncExitStack() as running:
        if request.param == 1:
            gateway = await running.enter_async_context(running_gateway(header_mode=False))
        else:
            (redis,) = running.enter_context(servers(RedisServer(tmp_path)))
            flags = shared_memory(redis.url, tmp_path)
            gateway = await running.enter_async_context(gateway_of_two(flags))
        yield await running.enter_async_context(set_stage(next(numbers), sellers, gateway, parser))


@pytest_asyncio.fixture(loop_scope="session")
async def alone(numbers: Iterator[int], sellers: Sellers, parser: Parser) -> AsyncIterator[Stage]:
    """One with a single worker that nobody starts again."""
    async with (
        running_gateway(header_mode=False) as gateway,
        set_stage(next(numbers), sellers, gateway, parser) as stage,
    ):
        yield stage


async def _load(stage: Stage, statuses: list[int]) -> None:
    numbers = iter(range(_REQUESTS))

    async def one_after_another() -> None:
        for number in numbers:
            messages = [say(LONG, "system"), say(f"Conversation {number}")]
            statuses.append((await stage.post({"model": stage.model, "messages": messages})).status)

    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))


async def _of_envoy(stage: Stage, name: str) -> int:
    """A counter of Envoy's access log."""
    lines = (await ask(stage.gateway.admin_socket, "/stats?filter=^access_logs.grpc_access_log") or b"").decode()
    return sum(int(line.rpartition(": ")[2]) for line in lines.splitlines() if f"grpc_access_log.{name}:" in line)


async def _late(stage: Stage, name: str) -> float:
    """How many values of a histogram are above `_SHOWN_S`."""
    found = 0.0
    for family in text_string_to_metric_families(await stage.metrics_text()):
        for sample in family.samples:
            if sample.name == f"{name}_bucket" and sample.labels["le"] in ("+Inf", _SHOWN_S):
                found += sample.value if sample.labels["le"] == "+Inf" else -sample.value
    return found


async def _stop_for_a_second(stage: Stage, worker: psutil.Process) -> None:
    """From when there is something to read."""
    worker.send_signal(signal.SIGSTOP)
    try:
        written = await _of_envoy(stage, "logs_written")

        async def more_to_read() -> bool:
            return await _of_envoy(stage, "logs_written") > written

        await until(more_to_read, "a request to end")
        await asyncio.sleep(_STOP_S)
    finally:
        worker.send_signal(signal.SIGCONT)


async def test_each_request_has_one_outcome_while_their_readers_stop(counted: Stage) -> None:
    await counted.serve("a", "b", "c")
    await all_decide(counted)
    for seller in counted.each("a", "b", "c"):
        await seller.set_fault(Fault(kind="latency", delay_s=_ANSWER_S))
    before = {name: await _late(counted, name) for name in _LATE}
    statuses: list[int] = []
    loading = asyncio.create_task(_load(counted, statuses))
    await until(lambda: len(statuses) > _REQUESTS // 6, "the load to run")
    alone = counted.gateway.settings.extproc_workers == 1
    for worker in [psutil.Process(counted.gateway.children.pid("ext_proc"))] if alone else workers_of(counted):
        await _stop_for_a_second(counted, worker)
    await loading
    assert statuses == [200] * _REQUESTS

    async def all_read() -> bool:
        entries = await counted.metric("limpet_access_log_entries_total", envoy="own")
        return entries >= await _of_envoy(counted, "logs_written")

    await until(all_read, "the workers to take in what Envoy has written")
    assert await counted.metric("limpet_requests_total") == _REQUESTS
    assert await _of_envoy(counted, "logs_dropped") == 0
    for name in _LATE:
        assert await _late(counted, name) > before[name], f"{name} does not show that a worker stood still"


async def test_what_a_killed_worker_has_not_taken_in_is_lost_and_the_difference_alone_shows_it(alone: Stage) -> None:
    gateway = alone.gateway
    await alone.serve("a")
    undecided = 0

    async def decided() -> bool:
        nonlocal undecided
        found = (await alone.ask("?")).decision != "fallback.undecided"
        undecided += not found
        return found

    async def taken() -> int:
        return int(await alone.metric("limpet_access_log_entries_total", envoy="own"))

    async def all_taken() -> bool:
        return await taken() == await _of_envoy(alone, "logs_written")

    await until(decided, "a decision")
    await until(all_taken, "the worker to take in what Envoy has written")
    before, undecided = await taken(), 0
    worker = psutil.Process(gateway.children.pid("ext_proc"))
    worker.send_signal(signal.SIGSTOP)
    for _ in range(5):
        assert not await decided()
    worker.kill()
    await gateway.start_extproc()
    await until(decided, "a decision by another worker")

    async def the_rest_taken() -> bool:
        return await taken() >= await _of_envoy(alone, "logs_written") - before - undecided

    await until(the_rest_taken, "the new worker to take in what ended since it decides")
    assert before + await taken() < await _of_envoy(alone, "logs_written")
    assert await _of_envoy(alone, "logs_dropped") == 0
