"""The translator of a worker: a process that is started when one will be needed, and again if it ends."""

import asyncio
import logging
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from limpet_extproc.process.first_of import first_of
from limpet_extproc.process.settings import ServerName

_log = logging.getLogger(__name__)


SILENCE_S: Final = 15.0
"""So long it may show no sign of life; the largest body takes it two seconds."""

_PAUSE_S: Final = 1.0
"""Between two starts."""
_STOP_S: Final = 2.0
"""For it to end with its worker."""
_BACKLOG: Final = 1024


def translator_command(server: ServerName = "own") -> tuple[str, ...]:
    """What starts one, but for the number of its listening socket."""
    return (sys.executable, "-m", "limpet_extproc.process.translator", server)


def translator_listener(path: Path) -> socket.socket:
    """The socket on which Envoy finds it, whether it runs or not. Raises OSError."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


async def keep_translator(
    listening: socket.socket,
    expected: asyncio.Event,
    command: Sequence[str],
    silence_s: float = SILENCE_S,
) -> None:
    """Keep it running while it is `expected`, and from the first connection on. Never returns; ends when cancelled.

    A start takes a second, which no request is to wait for; what is expected by nobody takes no memory.
    """
    while True:
        await first_of(_readable(listening), expected.wait())
        await _run(listening, command, silence_s)
        _log.warning("the translator has ended; it is started again")
        await asyncio.sleep(_PAUSE_S)


async def _run(listening: socket.socket, command: Sequence[str], silence_s: float) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command,
                str(listening.fileno()),
                stdin=theirs.fileno(),
                pass_fds=(listening.fileno(),),
                start_new_session=True,  # a Ctrl-C at the terminal must not end it before its worker
            )
        grace_s = 0.0
        try:
            await _silence(ours, silence_s)
        except asyncio.CancelledError:
            grace_s = _STOP_S
            raise
        finally:
            ours.close()
            await _ended(process, grace_s)


async def _silence(connection: socket.socket, silence_s: float) -> None:
    """Return when it has ended, or shows no sign of life."""
    beat = b"."
    with suppress(OSError):  # a TimeoutError is one
        while beat:
            async with asyncio.timeout(silence_s):
                beat = await asyncio.get_running_loop().sock_recv(connection, 64)


async def _ended(process: asyncio.subprocess.Process, grace_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await process.wait()
        return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _readable(listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(listening, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(listening)
