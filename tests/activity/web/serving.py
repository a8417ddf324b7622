"""A page that is served on loopback as the service does it, beside a test that has no loop."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Final

from starlette.types import ASGIApp

from limpet_activity.process.web_server import web_server
from limpet_extproc.contract.host_port import HostPort

_STARTS_S: Final = 60.0


@contextmanager
def on_loopback(app: ASGIApp) -> Iterator[str]:
    """Its address, until the end of the block."""
    found: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with web_server(app, HostPort("127.0.0.1", 0), grace_s=1) as where:
            found.set_result((where.port, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, loop, stop = found.result(_STARTS_S)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
