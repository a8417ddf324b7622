"""The clients of `limpet bench exchange`: some that want answers, and some that hang up at any moment."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from limpet_lab.bench.latency_load import CLIENT_KEY

UNDECIDED: Final = "fallback.undecided"
"""What Envoy says of a request that it served without ext_proc."""

_PATIENCE_S: Final = 120.0
_WAIT_S: Final = 0.005
"""On average, before a client hangs up."""


@dataclass(slots=True)
class WaitingClients:
    """What came of the requests of clients that wait for their answers."""

    requests: int = 0
    failed: int = 0
    undecided: int = 0
    last_failure: str = ""


@dataclass(slots=True)
class HungUp:
    """How many clients hung up, and when."""

    in_body: int = 0
    waiting: int = 0
    answered: int = 0
    """Those whose answer had come before they did."""


async def asking(url: str, bodies: Sequence[bytes], asked: WaitingClients, pause_s: float) -> None:
    """Send one body after the other, for ever."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    headers = {"content-type": "application/json", "authorization": f"Bearer {CLIENT_KEY}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        while True:
            for body in bodies:
                await _ask(session, url, body, asked)
                await asyncio.sleep(pause_s)


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes, asked: WaitingClients) -> None:
    failure = ""
    try:
        async with session.post(url, data=BytesIO(body)) as response:
            await response.read()
            if response.status != 200:
                failure = f"status {response.status}"
            asked.undecided += response.headers.get("x-limpet-decision", UNDECIDED) == UNDECIDED
    except (aiohttp.ClientError, TimeoutError) as error:
        failure = repr(error)
    asked.requests += 1
    if failure:
        asked.failed += 1
        asked.last_failure = failure


async def hanging_up(url: str, bodies: Sequence[bytes], hung_up: HungUp, rng: Random, pause_s: float) -> None:
    """Send requests and hang up while sending, or while waiting, for ever."""
    while True:
        body = rng.choice(bodies)
        sent = rng.randrange(len(body)) if rng.random() < 0.5 else len(body)
        with suppress(OSError):
            async with _connected(url) as (reader, writer):
                writer.write(_head(url, len(body)) + body[:sent])
                await writer.drain()
                _count(hung_up, whole=sent == len(body), answered=await _answered(reader, rng.expovariate(1 / _WAIT_S)))
        await asyncio.sleep(pause_s)


async def _answered(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether an answer, or an end, comes within that time."""
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return False
    return True


def _count(hung_up: HungUp, *, whole: bool, answered: bool) -> None:
    if answered:
        hung_up.answered += 1
    elif whole:
        hung_up.waiting += 1
    else:
        hung_up.in_body += 1


def _head(url: str, length: int) -> bytes:
    parts = urlsplit(url)
    return (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {CLIENT_KEY}\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that ends at once when the block does, whatever is unsent."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
