"""HTTP clients of the official SDKs whose connections begin or end where a test says."""

import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore2
import httpx2

Dial = Callable[[str, int, float | None], Awaitable[httpcore2.AsyncNetworkStream]]
"""Opens a connection for a host and a port within so many seconds. Raises httpcore2.ConnectError."""


class _Dialing(httpcore2.AsyncNetworkBackend):
    """Connections that `dial` opens; nothing is tried twice."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return await self._dial(host, port, timeout)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def client_that_dials(dial: Dial, timeout_s: float, trusted: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """What the official SDKs take as `http_client`: their usual pool over `dial`; `trusted` is for `https://`."""
    transport = httpx2.AsyncHTTPTransport()
    transport._pool = httpcore2.AsyncConnectionPool(
        ssl_context=trusted,
        network_backend=_Dialing(dial),
        max_connections=1000,
        max_keepalive_connections=100,
        keepalive_expiry=5.0,
    )
    return httpx2.AsyncClient(transport=transport, timeout=timeout_s)
