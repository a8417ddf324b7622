"""Brings h2spec, which knows TCP alone, to a server on a Unix socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from limpet_extproc.envoy import h2_frames as f
from limpet_extproc.envoy.h2_frames import frame

_SEEN: Final = frame(f.SETTINGS, f.ACK, 0)
_BEGIN: Final = f.head(24, f.SETTINGS, 0, 0)
_NO_TABLE: Final = f.HEADER_TABLE_SIZE.to_bytes(2, "big") + bytes(4)
_UNKNOWN: Final = b"\x7f\x7f" + bytes(4)

Change = Callable[[bytes], bytes]


def before_our_settings(data: bytes) -> bytes:
    """What h2spec sends, as if it had not read our settings yet.

    It always uses a table of headers, also where a server allows none. Until its acknowledgement arrives it may.
    """
    return data.replace(_SEEN, b"")


def with_a_table(data: bytes) -> bytes:
    """What we send, without the setting that allows no table: in its place stands one that nobody knows."""
    return data.replace(_BEGIN + _NO_TABLE, _BEGIN + _UNKNOWN)


@asynccontextmanager
async def forwarding(socket: Path) -> AsyncIterator[int]:
    """Connect this port of the loopback to the socket, byte by byte but for the two changes above."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        there_reader, there_writer = await asyncio.open_unix_connection(socket)
        ways = (
            asyncio.create_task(_pass_on(reader, there_writer, before_our_settings)),
            asyncio.create_task(_pass_on(there_reader, writer, with_a_table)),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, there_writer):
            each.close()
            with suppress(ConnectionError):
                await each.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*connections)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Change) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            if changed := change(data):
                writer.write(changed)
                await writer.drain()
