"""Clients that would fill Envoy: with connections that say nothing, and with bodies that never end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import pytest_asyncio
from tests.envoy.cast import say
from tests.envoy.conftest import set_stage
from tests.envoy.stage import Stage

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
    client = stage.client.with_options(max_retries=2)

    async def ask() -> None:
        while not over.is_set():
            answer = await client.chat.completions.create(model=stage.model, messages=[say("a small question")])
            assert answer.choices
            taken.append(resident_mib(stage))

    asking = asyncio.create_task(ask())
    try:
        yield taken
    finally:
        over.set()
        await asking


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


async def by_http1(stage: Stage, bodies: int, missing: int) -> None:
    """Bodies side by side, each on a connection of its own. Returns when each has been answered or hung up on."""
    size = BODY_MIB * MIB
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size + missing}\r\n\r\n"

    async def one() -> None:
        async with connected(stage) as (reader, writer):
            with suppress(OSError):
                writer.write(head.encode())
                for _ in range(BODY_MIB):
                    writer.write(BLOCK)
                    await writer.drain()
                await reader.read(1)

    await asyncio.gather(*(one() for _ in range(bodies)))


async def by_http2(stage: Stage, bodies: int, missing: int) -> None:
    """The same on one connection. Returns when every stream has been reset or answered."""
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
        while left:
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


@pytest.mark.parametrize("missing", [1, 0], ids=["half-sent", "whole"])
@pytest.mark.parametrize("send", [by_http1, by_http2])
async def test_many_large_bodies_cost_nobody_else_a_request(
    small: Stage, send: Callable[[Stage, int, int], Coroutine[Any, Any, None]], missing: int
) -> None:
    async with others_are_served(small) as taken:
        sending = asyncio.create_task(send(small, 72, missing))
        await asyncio.wait({sending}, timeout=15)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    assert taken
    assert max(taken) < LIMIT_MIB


async def test_silent_connections_cost_nobody_else_a_request(small: Stage) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(500):
            await stack.enter_async_context(connected(small))
        for _ in range(20):
            assert (await small.ask("a small question")).text
        assert resident_mib(small) < LIMIT_MIB // 2
