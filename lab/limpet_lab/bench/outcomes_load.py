"""A load of an exact number of requests, whatever happens meanwhile, over so many connections at a time."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from limpet_lab.bench.latency_load import CONVERSATIONS, SIZES, body

_SIZE: Final = "12KB"
_PATIENCE_S: Final = 30.0
_UNDECIDED: Final = "fallback.undecided"
_NO_ANSWER: Final = 0


class SentLoad(msgspec.Struct):
    """What clients saw of a load."""

    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    """Requests by the status of their answer; 0: there was none."""
    undecided: int = 0
    """Answers for which no worker decided where the request goes."""
    slowest_s: float = 0.0

    @property
    def sent(self) -> int:
        """All requests."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Requests with no answer, or another than 200."""
        return self.sent - self.statuses[200]


async def send(url: str, requests: int, connections: int, load: SentLoad) -> None:
    """Send exactly so many requests, wait for the answer to each, and note it in `load`."""
    numbers = iter(range(requests))
    bodies = [body(number, SIZES[_SIZE]) for number in range(CONVERSATIONS)]
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_one_connection(url, numbers, bodies, load))


async def _one_connection(url: str, numbers: Iterator[int], bodies: list[bytes], load: SentLoad) -> None:
    client = _Client(url)
    clock = asyncio.get_running_loop().time
    try:
        for number in numbers:
            began_s = clock()
            status, decision = await client.ask(bodies[number % len(bodies)])
            load.slowest_s = max(load.slowest_s, clock() - began_s)
            load.statuses[status] += 1
            load.undecided += decision == _UNDECIDED
    finally:
        client.close()


class _Client:
    """One connection that stays open. Simple, so that the load does not take the machine from what it loads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes) -> tuple[int, str]:
        """The status and the decision of an answer that has been read to its end; 0 if there was none."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await self._connected()
                writer.write(f"{self._head}content-length: {len(data)}\r\n\r\n".encode() + data)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip().split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines)
                await reader.readexactly(int(fields["content-length"]))
                return int(first.split(" ", 2)[1]), fields.get("x-limpet-decision", "")
        except (OSError, EOFError, TimeoutError, KeyError):
            self.close()
            return _NO_ANSWER, ""

    def close(self) -> None:
        """The next request opens another one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams
