"""Where a request is read: in the event loop, or in a separate process if that would take long."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from limpet_extproc.dialects.form import Form
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.request.parsing import (
    RequestHead,
    find_form_references,
    find_references,
    read,
    read_form,
    unreadable,
)
from limpet_extproc.request.reading_protocol import (
    CHECK_TRANSLATION,
    FIND_REFERENCES,
    LENGTH_BYTES,
    ReaderReply,
    length_prefix,
)
from limpet_extproc.request.references import Searched, mentions_any
from limpet_extproc.translation.request import untranslatable
from limpet_extproc.translation.untranslatable import Untranslatable

ReadRequest = Callable[[RequestHead, bytes | memoryview], Awaitable[ParsedRequest | Refusal]]
"""How a request is read."""

FindReferences = Callable[[RequestHead, bytes | memoryview, Searched], Awaitable[tuple[str, ...] | Refusal]]
"""Which objects a request names."""

CheckTranslation = Callable[[bytes | memoryview], Awaitable[Untranslatable | None]]
"""Which field of a request cannot be translated."""

_SEARCHED_HERE_BYTES: Final = 1 << 16
"""A body up to here is searched at once for what it names, if it seems to name anything."""

LIGHT_BYTES: Final = 1 << 18
"""A body up to here is read at once: that takes less than sending it elsewhere, whatever is in it."""

HEAVY_BYTES: Final = 1 << 20
"""A body above this is read elsewhere."""

_MOST_TOKENS: Final = 50_000
"""Of a body in between: one with more commas and escapes takes longer than its size suggests."""

COMMAND: Final = (sys.executable, "-m", "limpet_extproc.request.reader")

_STOP_S: Final = 2.0

TIMEOUT_S: Final = 4.0
"""For one body. The slowest takes about a second; Envoy waits long enough for a second try with all others."""

_REPLY: Final = msgspec.msgpack.Decoder(ReaderReply)


def is_heavy(body: bytes | memoryview) -> bool:
    """Whether other requests would have to wait for this one."""
    if len(body) <= LIGHT_BYTES or len(body) > HEAVY_BYTES:
        return len(body) > HEAVY_BYTES
    text = bytes(body)
    return text.count(b",") + text.count(b"\\") > _MOST_TOKENS


class ReaderError(Exception):
    """The body cannot be read because of a bug in Limpet; the message is the reader's traceback."""


class RequestReader:
    """Reads requests; heavy ones one after the other in a process that is started for the first of them.

    The decoder keeps the interpreter's lock, so a thread would hold up the loop as much as reading here. The process
    ends with this one: it sees the end of the connection. If it ends earlier or sends nothing for `timeout_s`, the body
    is read once more in a new one.
    """

    def __init__(self, command: Sequence[str] = COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._connection: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def read(self, head: RequestHead, body: bytes | memoryview) -> ParsedRequest | Refusal:
        """The request, or what is wrong with it. Raises OSError or ReaderError if it cannot be read."""
        if isinstance(head.dialect, Form):
            return read_form(head, head.dialect, body)
        if not is_heavy(body):
            return read(head, bytes(body))
        if refusal := unreadable(head):
            return refusal
        reply = await self._replied(head.headers.get(":path", "").encode(), body)
        if reply.request is not None:
            return reply.request
        if reply.refusal is not None:
            return reply.refusal
        raise ReaderError(reply.bug)

    async def untranslatable(self, body: bytes | memoryview) -> Untranslatable | None:
        """What of a request cannot be translated. Raises OSError or ReaderError if that cannot be told."""
        if not is_heavy(body):
            return untranslatable(bytes(body))
        reply = await self._replied(CHECK_TRANSLATION, body)
        if reply.bug:
            raise ReaderError(reply.bug)
        return reply.untranslatable

    async def references(
        self, head: RequestHead, body: bytes | memoryview, searched: Searched
    ) -> tuple[str, ...] | Refusal:
        """The objects that a body names. Raises OSError or ReaderError if that cannot be told."""
        if isinstance(head.dialect, Form):
            return find_form_references(head, head.dialect, body, searched)
        if refusal := unreadable(head):
            return refusal
        if len(body) <= HEAVY_BYTES and not mentions_any(bytes(body), searched):
            return ()
        if len(body) <= _SEARCHED_HERE_BYTES:
            return find_references(bytes(body), searched)
        reply = await self._replied(FIND_REFERENCES[searched], body)
        if reply.bug:
            raise ReaderError(reply.bug)
        return reply.refusal or reply.references

    async def _replied(self, path: bytes, body: bytes | memoryview) -> ReaderReply:
        # A caller cancelled while it waits gives up its turn. A body that was sent is read to its end, so that replies
        # stay in step with bodies.
        await self._turn.acquire()
        reading = asyncio.create_task(self._read_twice(path, body))
        reading.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(reading)

    async def close(self) -> None:
        """End the process, if one was started."""
        async with self._turn:
            await self._end(_STOP_S)

    @property
    def pid(self) -> int | None:
        """Of the process, if one runs."""
        return None if self._process is None else self._process.pid

    async def _read_twice(self, path: bytes, body: bytes | memoryview) -> ReaderReply:
        try:
            return await self._read_in_time(path, body)
        except OSError:
            await self._end(0)
        try:
            return await self._read_in_time(path, body)
        except OSError:
            await self._end(0)
            raise

    async def _read_in_time(self, path: bytes, body: bytes | memoryview) -> ReaderReply:
        # A TimeoutError is an OSError.
        async with asyncio.timeout(self._timeout_s):
            loop = asyncio.get_running_loop()
            connection = self._connection or await self._start()
            await loop.sock_sendall(connection, length_prefix(path) + path + length_prefix(body))
            await loop.sock_sendall(connection, body)
            length = int.from_bytes(await _receive(connection, LENGTH_BYTES), "little")
            return _REPLY.decode(await _receive(connection, length))

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=theirs.fileno(),
                start_new_session=True,  # a Ctrl-C at the terminal must not end it before its worker
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._connection = ours
        return ours

    async def _end(self, grace_s: float) -> None:
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is not None:
            connection.close()
        if process is None:
            return
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _receive(connection: socket.socket, size: int) -> bytearray:
    """Exactly `size` bytes. Raises OSError if the connection ends before."""
    loop = asyncio.get_running_loop()
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = await loop.sock_recv_into(connection, rest)
        if not count:
            raise ConnectionResetError("the reader has ended")
        rest = rest[count:]
    return data
