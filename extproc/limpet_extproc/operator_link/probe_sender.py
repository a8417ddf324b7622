"""Sends the operator's probes through the Envoy beside this worker.

Envoy takes them as HTTP/1.0 on a Unix socket and ends each answer with its connection, so that nothing has to be
parsed but a head. Hanging up before that ends the request at the provider as well.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from email.errors import MessageError
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from limpet_extproc.contract.envoy import CLUSTER_HEADER, NO_ANSWER_HEADER
from limpet_extproc.contract.health_stream import (
    HEAD_TOO_LARGE,
    MAX_ANSWER_BYTES,
    NOT_SENT,
    TIMEOUT,
    ProbeAnswer,
    ProbeRequest,
)

_HEAD_BYTES: Final = 64 * 1024
"""Envoy takes hardly more from a provider."""
_FAILURE_CHARS: Final = 4000
"""Of Envoy's words; far more than it needs."""
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_USER_AGENT: Final = "limpet-healthprobe"
"""Some vendors' firewalls refuse requests without any."""


class _Head(NamedTuple):
    status: int
    headers: Mapping[str, str]


class ProbeSender:
    """The way through one Envoy."""

    def __init__(self, socket: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`socket` is Envoy's; `clock` measures how long answers take."""
        self._socket = socket
        self._clock = clock

    async def send(self, request: ProbeRequest) -> ProbeAnswer:
        """What became of it, within its time. Never raises because of what an answer holds or where it ends."""
        started_s = self._clock()
        try:
            async with asyncio.timeout(request.timeout_s):
                answer = await self._exchange(request)
        except TimeoutError:
            answer = ProbeAnswer(request.id, failure=TIMEOUT)
        except OSError as error:
            answer = ProbeAnswer(request.id, failure=f"{NOT_SENT}{error.strerror or error}")
        return msgspec.structs.replace(answer, seconds=self._clock() - started_s)

    async def _exchange(self, request: ProbeRequest) -> ProbeAnswer:
        if any(ord(character) <= ord(" ") for character in request.path + request.provider):
            return ProbeAnswer(request.id, failure=f"{NOT_SENT}the path or the provider's name is not fit for a header")
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=_HEAD_BYTES)
        try:
            writer.write(_written(request))
            try:
                head = _parsed(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.LimitOverrunError:
                return ProbeAnswer(request.id, failure=HEAD_TOO_LARGE)
            except (asyncio.IncompleteReadError, MessageError, ValueError):
                return ProbeAnswer(request.id, failure=f"{NOT_SENT}Envoy ended the connection")
            body = await _at_most(reader, MAX_ANSWER_BYTES)
        finally:
            writer.transport.abort()
        return _answer(request.id, head, _plain(body, head).decode("utf-8", "replace"))


def _written(request: ProbeRequest) -> bytes:
    body = request.body.encode()
    lines = [
        f"{request.method} {request.path} HTTP/1.0",
        f"{CLUSTER_HEADER}: {request.provider}",
        f"user-agent: {_USER_AGENT}",
        "accept: application/json",
        *(["content-type: application/json", f"content-length: {len(body)}"] if request.method == "POST" else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _parsed(head: bytes) -> _Head:
    """Raises ValueError for something else than the head of an answer."""
    line, _, rest = head.partition(b"\r\n")
    _, status, *_ = line.split(b" ", 2)
    fields = BytesHeaderParser().parsebytes(rest)
    return _Head(int(status), {name.lower(): str(value) for name, value in fields.items()})


async def _at_most(reader: asyncio.StreamReader, limit: int) -> bytes:
    """What comes until the end of the connection, or so many bytes of it."""
    pieces, size = [], 0
    while size < limit and (piece := await reader.read(limit - size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _plain(body: bytes, head: _Head) -> bytes:
    """Some compress without being asked to. What is broken, or compressed in another way than usual, stays as it is."""
    if head.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, MAX_ANSWER_BYTES)
    except zlib.error:
        return body


def _answer(number: int, head: _Head, body: str) -> ProbeAnswer:
    if NO_ANSWER_HEADER in head.headers:
        return ProbeAnswer(number, failure=body[:_FAILURE_CHARS])
    return ProbeAnswer(
        number,
        status=head.status,
        content_type=head.headers.get("content-type", ""),
        retry_after=head.headers.get("retry-after", ""),
        body=body,
    )
