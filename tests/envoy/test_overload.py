"""Clients that would fill Envoy: with connections that say nothing, and with bodies that never end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import pytest_asyncio
from tests.envoy.cast import say
from tests.envoy.conftest import set_stage
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024
HEAP_MIB = 512
LIMIT_MIB = 640
"""Of the container that gets this heap: four fifths of it."""
BODY_MIB = 30
BLOCK = b" " * MIB
ANSWERS = 20
"""Of requests while others' bodies are held."""
RETRIES = 8
"""An SDK asks twice more, within seconds; the gateway may need more of them where it has little of the processors."""


@pytest_asyncio.fixture(loop_scope="session")
async def small(numbers: Iterator[int], sellers: Sellers, parser: Parser) -> AsyncIterator[Stage]:
    """A gateway of its own, with little memory."""
    metrics_port = free_port()
    settings = LocalSettings(port=free_port(), extproc_metrics_port=metrics_port, envoy_heap_bytes=HEAP_MIB * MIB)
    async with LocalGateway(settings) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        async with set_stage(next(numbers), sellers, (gateway, metrics_port), parser) as stage:
            yield await stage.serve("a", "b")


def resident_mib(stage: Stage) -> int:
    """What Envoy takes of the machine."""
    status = Path(f"/proc/{stage.gateway.children.pid('envoy')}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024


@asynccontextmanager
async def others_are_served(stage: Stage) -> AsyncIterator[list[int]]:
    """Ask on and on meanwhile, as an SDK does: each must be answered. Gives what Envoy took at each answer, in MiB."""
    taken: list[int] = []
    over = asyncio.Event()
    client = stage.client.with_options(max_retries=RETRIES)

    async def ask() -> None:
        while not over.is_set():
            answer = await client.chat.completions.create(model=stage.model, messages=[say("a small question")])
            assert answer.choices
            taken.append(resident_mib(stage))

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())  # Its end by an error is that of the block, too.
        try:
            yield taken
        finally:
            over.set()


@asynccontextmanager
async def connected(stage: Stage) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the gateway."""
    host, _, port = stage.origin.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def by_http1(stage: Stage, bodies: int, missing: int) -> AsyncIterator[None]:
    """Bodies side by side, each on a connection of its own, so many bytes short.

    The block begins when each has been sent, answered or hung up on, and at its end they are given up.
    """
    size = BODY_MIB * MIB
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size + missing}\r\n\r\n"

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(head.encode())
            for _ in range(BODY_MIB):
                writer.write(BLOCK)
                await writer.drain()
            if not missing:
                await reader.read(1)

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(stage)) for _ in range(bodies)]
        await asyncio.gather(*(send(*each) for each in connections))
        yield


@asynccontextmanager
async def by_http2(stage: Stage, bodies: int, missing: int) -> AsyncIterator[None]:
    """The same by as many streams of one connection."""
    size = BODY_MIB * MIB
    left: dict[int, int] = {}
    async with connected(stage) as (reader, writer):
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        http.initiate_connection()
        for _ in range(bodies):
            stream = http.get_next_available_stream_id()
            head = [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http")]
            http.send_headers(stream, [*head, (":authority", "localhost"), ("content-length", str(size + missing))])
            left[stream] = size
        while any(left.values()) if missing else left:
            for stream in list(left):
                window = http.local_flow_control_window(stream)
                if count := min(window, left[stream], http.max_outbound_frame_size):
                    left[stream] -= count
                    http.send_data(stream, BLOCK[:count], end_stream=not (left[stream] or missing))
            writer.write(http.data_to_send())
            await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    data = await reader.read(MIB)
                    assert data, "the connection outlives its streams"
                    for event in http.receive_data(data):
                        if isinstance(event, h2.events.StreamReset | h2.events.StreamEnded):
                            left.pop(event.stream_id or 0, None)
        yield


@pytest.mark.parametrize("missing", [1, 0], ids=["half-sent", "whole"])
@pytest.mark.parametrize("sent", [by_http1, by_http2])
async def test_many_large_bodies_cost_nobody_else_a_request(
    small: Stage, sent: Callable[[Stage, int, int], AbstractAsyncContextManager[None]], missing: int
) -> None:
    async with others_are_served(small) as taken, sent(small, 72, missing):
        before = len(taken)
        await until(lambda: len(taken) >= before + ANSWERS, "answers beside the bodies")
    assert max(taken) < LIMIT_MIB


async def test_silent_connections_cost_nobody_else_a_request(small: Stage) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(500):
            await stack.enter_async_context(connected(small))
        for _ in range(20):
            assert (await small.ask("a small question")).text
        assert resident_mib(small) < LIMIT_MIB // 2
