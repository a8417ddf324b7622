"""`python -m limpet_extproc.process.translator`: translates for a worker, beside its loop.

It takes Envoy's calls from a listening socket of the worker, so that large bodies hold up no decision. On the socket
that is its standard input it shows that its loop turns, and sees the end of the worker, which is its own.
"""

import asyncio
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Final, cast

import uvloop

from limpet_extproc.contract.envoy import BODY_LIMIT, NO_USER_ID
from limpet_extproc.envoy import server
from limpet_extproc.envoy.calls import Streaming
from limpet_extproc.envoy.h2_frames import Request
from limpet_extproc.envoy.translator import MAX_REQUEST_BYTES, Translator
from limpet_extproc.process.call_servers import call_server
from limpet_extproc.process.settings import ServerName
from limpet_extproc.request.large_memory import give_back_large_memory

BEAT: Final = b"."
BEAT_S: Final = 1.0

_GRACE_S: Final = 1.0
"""For what is under way when the worker stops."""


async def serve(listening: socket.socket, ended: asyncio.Event, server_name: ServerName = "own") -> None:
    """Translate until the event."""
    translator = Translator(time.time)

    def find(request: Request) -> Streaming | None:
        if request.path != server.METHOD:
            return None
        limit = next((int(value) for name, value in request.metadata if name == BODY_LIMIT), MAX_REQUEST_BYTES)
        user_id = NO_USER_ID not in request.metadata
        return Streaming(partial(translator.process, user_id=user_id, body_limit_bytes=limit))

    serving = call_server(server_name, find)
    await serving.start_on(listening)
    try:
        await ended.wait()
    finally:
        await serving.stop(grace=_GRACE_S)


async def _run(server_name: ServerName, listening: socket.socket, worker: socket.socket) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(worker, ended.set)  # It says nothing; there is an end to read.
    serving = asyncio.create_task(serve(listening, ended, server_name))
    while not ended.is_set():
        with suppress(OSError):
            worker.send(BEAT)
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await ended.wait()
    await serving


def main() -> None:
    """Serve with the server that the first argument names on the socket whose number is the second.

    Until the end of standard input.
    """
    name, number = sys.argv[1:]
    give_back_large_memory()
    with socket.socket(fileno=int(number)) as listening, socket.socket(fileno=sys.stdin.fileno()) as worker:
        worker.setblocking(False)
        uvloop.run(_run(cast("ServerName", name), listening, worker))


if __name__ == "__main__":
    main()
