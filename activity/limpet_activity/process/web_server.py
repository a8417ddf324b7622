"""An ASGI application on a port, on the event loop of the process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from limpet_activity.process.bounded_app import BoundedApp
from limpet_activity.process.http_connections import MOST_CONNECTIONS, BoundedConnection
from limpet_activity.web.guard import HEADERS
from limpet_extproc.contract.host_port import HostPort

_GRACE_S: Final = 2
"""For answers under way; a page that follows live never ends by itself."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has handlers of its own."""
        yield


@asynccontextmanager
async def web_server(app: ASGIApp, where: HostPort, grace_s: int = _GRACE_S) -> AsyncIterator[HostPort]:
    """Serve until the end of the block; gives where that is. Raises OSError if nothing can listen there.

    `grace_s`: for answers under way at the end.
    """
    listener = _listener(where)
    config = uvicorn.Config(
        BoundedApp(app, MOST_CONNECTIONS, {**HEADERS, "cache-control": "no-store"}),
        http=BoundedConnection,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=30,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield HostPort(where.host, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving


def _listener(where: HostPort) -> socket.socket:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    # All addresses of IPv6 are all of IPv4 as well.
    return socket.create_server((where.host, where.port), family=family, backlog=256, dualstack_ipv6=where.host == "::")
