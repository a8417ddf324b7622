"""A provider on a raw socket: it keeps what it got byte for byte, and answers as the story wants.

The shared sellers behave as vendors do. This one does what no HTTP library would let a server do: odd statuses, headers
given twice, an answer in pieces, a connection that ends at any point.

    async with Upstream(lambda got: Reply(status=503) if got.number == 1 else completion()) as upstream:
        await stage.serve("a", "b", specs={"a": {"url": upstream.url}})
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

_MAX_HEAD_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Got:
    """One request as it came over the wire. Numbers count from 1."""

    head: bytes
    """The request line and the header lines, without the blank line."""
    body: bytes
    number: int
    """Of the requests at this upstream."""
    connection: int
    on_connection: int
    """Of the requests on its connection."""

    @property
    def target(self) -> str:
        """Path and query."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case, in their order, doubles included."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> str | None:
        """The first value of a header; None if it is not there."""
        return next((value for each, value in self.headers if each == name), None)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back. An object as `body` goes as JSON; the `content-length` is added unless `headers` have one."""

    status: int = 200
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict)
    body: object = b""
    delay_s: float = 0.0
    """Before the first byte."""
    pieces: Sequence[bytes | float] | None = None
    """In place of `body`: chunks of a chunked answer, and seconds of silence between them."""
    cut: bool = False
    """End the connection with a reset after what was sent of `pieces`, without the last chunk."""
    stalls: bool = False
    """Send nothing more after `pieces`, until the peer leaves."""


RESET: Final = "reset"
"""In place of a Reply: the connection ends with RST before a byte of an answer."""
HANG: Final = "hang"
"""In place of a Reply: nothing, until the peer leaves."""
CLOSE: Final = "close"
"""In place of a Reply: the connection ends with FIN before a byte of an answer."""

Script = Callable[[Got], Reply | bytes | str]
"""What to do with a request: a Reply, raw bytes that are sent as they are, RESET, CLOSE or HANG."""


def completion(text: str = "At home on its rock.", usage: object = ..., **fields: object) -> Reply:
    """An ordinary unstreamed answer; `usage` in place of the ordinary one, None: without any."""
    said: dict[str, object] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }
    if usage is ...:
        usage = {
            "prompt_tokens": 1500,
            "completion_tokens": 5,
            "total_tokens": 1505,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
    if usage is not None:
        said["usage"] = usage
    return Reply(headers={"content-type": "application/json"}, body=said | fields)


def events(*data: object, pause_s: float = 0.0, done: bool = True) -> Reply:
    """A streamed answer: each as one `data:` event, strings as they are."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in data] + (["[DONE]"] if done else [])
    pieces: list[bytes | float] = []
    for line in lines:
        pieces += [f"data: {line}\n\n".encode(), pause_s]
    return Reply(headers={"content-type": "text/event-stream"}, pieces=pieces)


def _ordinary(_: Got) -> Reply:
    return completion()


class Upstream:
    """A running upstream; `async with`. What came is in `got`, and `script` may be replaced at any time."""

    def __init__(
        self, script: Script = _ordinary, *, host: str = "127.0.0.1", keep_alive_s: float | None = None
    ) -> None:
        self.script = script
        self.got: list[Got] = []
        self.connections = 0
        self.left = 0
        """Requests whose peer left before it had an answer, or all of it."""
        self._host = host
        self._keep_alive_s = keep_alive_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, self._host, 0, limit=_MAX_HEAD_BYTES)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """For `Provider.spec.url`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/v1"

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._connection(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before it has begun closes nothing.
        task.add_done_callback(lambda _: writer.close())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        on_connection = 0
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                while True:
                    async with asyncio.timeout(self._keep_alive_s):
                        head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
                    body = await _body(head, reader)
                    on_connection += 1
                    got = Got(head, body, len(self.got) + 1, number, on_connection)
                    self.got.append(got)
                    reply = self.script(got)
                    if reply == HANG or not await _answer(reply, writer):
                        if reply == HANG or (isinstance(reply, Reply) and reply.stalls):
                            await self._until_left(reader)
                        return
        finally:
            writer.close()

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read(1)
        self.left += 1


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    _, found, rest = lower.partition(b"\r\ncontent-length:")
    return await reader.readexactly(int(rest.split(b"\r\n", 1)[0])) if found else b""


async def _answer(reply: Reply | bytes | str, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection goes on."""
    if isinstance(reply, bytes):
        writer.write(reply)
        await writer.drain()
        return True
    if isinstance(reply, str):
        if reply == RESET:
            _reset(writer)
        return False
    await asyncio.sleep(reply.delay_s)
    headers = [*(reply.headers.items() if isinstance(reply.headers, Mapping) else reply.headers)]
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    if reply.pieces is not None:
        headers.append(("transfer-encoding", "chunked"))
    elif not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        headers.append(("content-length", str(len(body))))
    lines = [f"HTTP/1.1 {reply.status:03} Said", *(f"{name}: {value}" for name, value in headers), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1") + (b"" if reply.pieces is not None else body))
    await writer.drain()
    return reply.pieces is None or await _in_pieces(reply, reply.pieces, writer)


async def _in_pieces(reply: Reply, pieces: Sequence[bytes | float], writer: asyncio.StreamWriter) -> bool:
    for piece in pieces:
        if isinstance(piece, bytes):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        else:
            await asyncio.sleep(piece)
    if reply.cut:
        _reset(writer)
    if reply.cut or reply.stalls:
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    # Linger on with zero seconds makes the close send RST in place of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
