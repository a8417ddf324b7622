"""The Redis that both gateways remember in: a real redis-server, behind a relay that can make it slow."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Final, Self

from limpet_operator.laptop.children import Children
from limpet_operator.laptop.machine import free_port

_REDIS: Final = "redis-server"
_RELAY: Final = "relay"
_START_S: Final = 20.0


class RedisMissingError(Exception):
    """There is no redis-server; the message says what to install."""


class SharedRedis:
    """The server and the relay; gateways connect to `url`."""

    def __init__(self, folder: Path) -> None:
        """Raises RedisMissingError."""
        if which(_REDIS) is None:
            raise RedisMissingError(
                "this needs redis-server, version 6.2 or newer, on the PATH: apt-get install redis-server, "
                "or your system's way"
            )
        self._folder = folder
        self._port, self._relay_port = free_port(), free_port()
        self._children = Children(folder)

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
        """Start it, empty, and wait until it answers through the relay."""
        server = [_REDIS, "--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--dir", str(self._folder)]
        relay = [sys.executable, "-m", "limpet_lab.bench.faults.relay", str(self._relay_port), str(self._port)]
        await self._children.start(_REDIS, server)
        await self._children.start(_RELAY, relay)
        async with asyncio.timeout(_START_S):
            while not await self._answers():  # noqa: ASYNC110 - there is nothing to wait on
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it at once: its connections break, and nothing listens."""
        for name in (_RELAY, _REDIS):
            self._children.kill(name)
            await self._children.wait(name)

    def stall(self) -> None:
        """It takes connections and commands and answers none."""
        self._signal(_REDIS, signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self._signal(_REDIS, signal.SIGCONT)

    def slow_down(self) -> None:
        """Its answers are late (`relay.LATE_S`)."""
        self._signal(_RELAY, signal.SIGUSR1)

    def speed_up(self) -> None:
        """Its answers are on time again."""
        self._signal(_RELAY, signal.SIGUSR2)

    async def flush(self) -> None:
        """It forgets everything. Raises RuntimeError if it does not."""
        if await self._told(b"FLUSHALL") != b"+OK\r\n":
            raise RuntimeError("Redis did not flush")

    def _signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self._children.pid(name), number)

    async def _answers(self) -> bool:
        try:
            return await self._told(b"PING") == b"+PONG\r\n"
        except OSError:
            return False

    async def _told(self, command: bytes) -> bytes:
        """The answer to a command in one word; its protocol allows this form for people with telnet."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._relay_port)
        try:
            writer.write(command + b"\r\n")
            return await reader.readline()
        finally:
            writer.close()
