"""Connections at a Unix socket, for a server that neither tells of them nor takes them from where they come."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from limpet_extproc.envoy.calls import BACKLOG

SYSTEM_TABLE: Final = Path("/proc/net/unix")
LOOK_EVERY_S: Final = 1.0

_CONNECTED: Final = "03"
_NOT_TAKEN: Final = "0"
"""The inode of a connection that nobody has accepted yet."""
_CHUNK_BYTES: Final = 1 << 18


def connections(path: Path, table: str) -> frozenset[str]:
    """What the system calls those that a server has accepted at this socket; `table`: the text of SYSTEM_TABLE."""
    ends = f" {path}"
    found: set[str] = set()
    for line in table.splitlines():
        if line.endswith(ends):
            *_, state, inode, at = line.split(maxsplit=7)
            if (state, at) == (_CONNECTED, str(path)) and inode != _NOT_TAKEN:
                found.add(inode)
    return frozenset(found)


async def watch_connections(
    path: Path,
    on_alone: Callable[[], None],
    table: Path = SYSTEM_TABLE,
    every_s: float = LOOK_EVERY_S,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Call `on_alone` when all connections of the last look are gone, new ones or not.

    Returns only where the system has no such table or it cannot be read: then nobody is ever alone.
    """
    before: frozenset[str] = frozenset()
    while True:
        await sleep(every_s)
        try:
            now = connections(path, await asyncio.to_thread(_text, table))
        except OSError:
            return
        if before and not before & now:
            on_alone()
        before = now


def _text(table: Path) -> str:
    """Other processes' sockets are in it as well, whose names may be any bytes."""
    return os.fsdecode(table.read_bytes())


class UnixRelay:
    """Passes what comes to a listening socket on to another, and back."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket) -> None:
        """Take connections."""
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listening, backlog=BACKLOG, limit=_CHUNK_BYTES
        )

    def close(self) -> None:
        """Take no more; those that there are go on."""
        if self._server is not None:
            self._server.close()

    async def ended(self) -> None:
        """Return when all have ended, as they do with the server behind."""
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(self._to, limit=_CHUNK_BYTES)
        except OSError:
            writer.close()
            return
        ways = [asyncio.create_task(_pass(reader, there_writer)), asyncio.create_task(_pass(there_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            there_writer.close()
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one of both ends."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
