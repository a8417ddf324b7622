"""Where a request is read: in the loop that serves everybody, or in a process of its own if that would take long."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from limpet_extproc.dialects import ChatRequest
from limpet_extproc.request.exchange import Head, Refusal, bad_request, read, unreadable
from limpet_extproc.request.reading_protocol import LENGTH_BYTES, Answer

Read = Callable[[Head, bytes | memoryview], Awaitable[ChatRequest | Refusal]]
"""How a request is read."""

LIGHT_BYTES: Final = 1 << 18
"""A body up to here is read at once: it takes less than sending it elsewhere, whatever is in it."""

HEAVY_BYTES: Final = 1 << 20
"""A body above this is read elsewhere."""

_MOST_TOKENS: Final = 50_000
"""Of a body in between: those with more commas and escapes take longer, token by token, than their size tells."""

COMMAND: Final = (sys.executable, "-m", "limpet_extproc.request.reader")

_STOP_S: Final = 2.0

PATIENCE_S: Final = 4.0
"""With one body. The dearest takes about a second; Envoy waits long enough for a second try with all others."""


_ANSWER: Final = msgspec.msgpack.Decoder(Answer)


async def read_here(head: Head, body: bytes | memoryview) -> ChatRequest | Refusal:
    """In this process, in this very moment."""
    return read(head, bytes(body))


def is_heavy(body: bytes | memoryview) -> bool:
    """Whether others would have to wait for this one."""
    if len(body) <= LIGHT_BYTES or len(body) > HEAVY_BYTES:
        return len(body) > HEAVY_BYTES
    text = bytes(body)
    return text.count(b",") + text.count(b"\\") > _MOST_TOKENS


class ReaderFailed(Exception):  # noqa: N818 (says what happened)
    """The body cannot be read because of a defect of ours; the message is the reader's traceback."""


class Reading:
    """Reads requests; heavy ones one after the other in a process that is started for the first of them.

    The decoder keeps the interpreter's lock, so a thread would hold up the loop as much as reading here. The process
    ends with us: it sees the end of the connection. If it ends by itself or says nothing for `patience_s`, the body is
    read once more in a new one.
    """

    def __init__(self, command: Sequence[str] = COMMAND, patience_s: float = PATIENCE_S) -> None:
        self._command = command
        self._patience_s = patience_s
        self._process: asyncio.subprocess.Process | None = None
        self._connection: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def read(self, head: Head, body: bytes | memoryview) -> ChatRequest | Refusal:
        """What the request says, or what is wrong with it. Raises OSError or ReaderFailed if nobody can tell."""
        if not is_heavy(body):
            return read(head, bytes(body))
        if refusal := unreadable(head):
            return refusal
        # Who leaves while waiting gives up the place. What has begun goes on to its end, to know whose answer is next.
        await self._turn.acquire()
        asked = asyncio.create_task(self._ask_twice(body))
        asked.add_done_callback(lambda _: self._turn.release())
        answer = await asyncio.shield(asked)
        if answer.request is not None:
            return answer.request
        if answer.wrong is None:
            raise ReaderFailed(answer.defect)
        return bad_request(answer.wrong.param, answer.wrong.message)

    async def close(self) -> None:
        """End the process, if there is one."""
        async with self._turn:
            await self._end(_STOP_S)

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    async def _ask_twice(self, body: bytes | memoryview) -> Answer:
        try:
            return await self._ask_in_time(body)
        except OSError:
            await self._end(0)
        try:
            return await self._ask_in_time(body)
        except OSError:
            await self._end(0)
            raise

    async def _ask_in_time(self, body: bytes | memoryview) -> Answer:
        # A TimeoutError is an OSError.
        async with asyncio.timeout(self._patience_s):
            return await self._ask(body)

    async def _ask(self, body: bytes | memoryview) -> Answer:
        loop = asyncio.get_running_loop()
        connection = self._connection or await self._start()
        await loop.sock_sendall(connection, len(body).to_bytes(LENGTH_BYTES, "little"))
        await loop.sock_sendall(connection, body)
        length = int.from_bytes(await _receive(connection, LENGTH_BYTES), "little")
        return _ANSWER.decode(await _receive(connection, length))

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=theirs.fileno(),
                start_new_session=True,  # a Ctrl-C at the terminal is for those who end us in order
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
    """Exactly so many bytes. Raises OSError if there are no more."""
    loop = asyncio.get_running_loop()
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = await loop.sock_recv_into(connection, left)
        if not count:
            raise ConnectionResetError("the reader has ended")
        left = left[count:]
    return data
