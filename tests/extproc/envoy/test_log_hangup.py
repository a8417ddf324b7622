"""An Envoy that hangs up: what it has logged until then counts."""

import asyncio
from pathlib import Path

import pytest
from envoy.service.accesslog.v3 import als_pb2
from tests.extproc.envoy.h2_wire import BEGIN, data, headers
from tests.extproc.envoy.log_world import World, entry
from tests.waiting import until

from limpet_extproc.envoy.calls import CallMessages, Streaming
from limpet_extproc.envoy.grpc_server import Server

ENTRIES = 20


def message() -> bytes:
    """Entries as gRPC sends them."""
    log = als_pb2.StreamAccessLogsMessage()
    for _ in range(ENTRIES):
        log.http_logs.log_entry.append(entry())
    text = log.SerializeToString()
    return b"\0" + len(text).to_bytes(4, "big") + text


def sent(text: bytes) -> bytes:
    return b"".join(data(1, text[at : at + 16_000]) for at in range(0, len(text), 16_000))


@pytest.mark.parametrize("turns", range(4))
async def test_all_that_has_come_counts(tmp_path: Path, turns: int) -> None:
    world = World()
    begun = asyncio.Event()

    async def take(call: CallMessages) -> bytes:
        begun.set()
        return await world.outcomes.stream(call)

    server = Server(lambda _: Streaming(take))
    await server.start(tmp_path / "socket")
    try:
        _, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(BEGIN + headers(1))
        await begun.wait()
        writer.write(sent(message()) + sent(message()) + sent(message()))
        for _ in range(turns):
            await asyncio.sleep(0)
        writer.close()
        await until(lambda: len(world.shown) == 3 * ENTRIES, "all entries are used")
    finally:
        await server.stop(0)
