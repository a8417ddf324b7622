"""The Redis that both gateways remember in: a real redis-server, behind a relay that can make it slow."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Final, Self

from limpet_operator.laptop.children import Children
from limpet_operator.laptop.machine import free_port

_NAME: Final = "redis-server"
_START_S: Final = 20.0
_CHUNK_BYTES: Final = 65536


class RedisMissingError(Exception):
    """There is no redis-server; the message says what to install."""


class SharedRedis:
    """The server and the relay; gateways connect to `url`."""

    def __init__(self, folder: Path) -> None:
        """Raises RedisMissingError."""
        if which("redis-server") is None:
            raise RedisMissingError(
                "this needs redis-server, version 6.2 or newer, on the PATH: apt-get install redis-server, "
                "or your system's way"
            )
        self._folder = folder
        self._port, self._relay_port = free_port(), free_port()
        self._children = Children(folder)
        self._relay: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        """Of every answer."""

    @property
    def url(self) -> str:
        """For `--redis-url`."""
        return f"redis://127.0.0.1:{self._relay_port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        await self._children.start(_NAME, [*command, "--dir", str(self._folder)])
        async with asyncio.timeout(_START_S):
            while not await self._answers():  # noqa: ASYNC110 - there is nothing to wait on
                await asyncio.sleep(0.02)
        self._relay = await asyncio.start_server(self._accepted, "127.0.0.1", self._relay_port)

    async def kill(self) -> None:
        """End it at once: its connections break, and nothing listens."""
        if self._relay is not None:
            self._relay.close()
        self._children.kill(_NAME)
        await self._children.wait(_NAME)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def stall(self) -> None:
        """It takes connections and commands and answers none."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self._signal(signal.SIGCONT)

    async def flush(self) -> None:
        """It forgets everything."""
        if await self._told(b"FLUSHALL") != b"+OK\r\n":
            raise RuntimeError("Redis did not flush")

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self._children.pid(_NAME), number)

    async def _answers(self) -> bool:
        try:
            return await self._told(b"PING") == b"+PONG\r\n"
        except OSError:
            return False

    async def _told(self, command: bytes) -> bytes:
        """The answer to a command in one word; its protocol allows this form for people with telnet."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(command + b"\r\n")
            return await reader.readline()
        finally:
            writer.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relayed(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _relayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    ways = [
                        asyncio.create_task(self._copy(reader, to_server, slow=False)),
                        asyncio.create_task(self._copy(from_server, writer, slow=True)),
                    ]
                    try:
                        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for way in ways:
                            way.cancel()
                        await asyncio.gather(*ways, return_exceptions=True)
                finally:
                    to_server.close()
        finally:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if slow and self.delay_s:
                # Not by waiting here, which would hold up the answers behind this one as well.
                asyncio.get_running_loop().call_later(self.delay_s, writer.write, data)
            else:
                writer.write(data)
