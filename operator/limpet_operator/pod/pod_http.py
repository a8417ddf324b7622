"""`/healthz`, `/readyz` and `/metrics` of a pod, for the kubelet and Prometheus.

Other clients may reach these ports, too. So a connection has little time for its request, and one too many ends the
oldest: idle connections keep no other client out.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from limpet_extproc.contract.host_port import HostPort

HealthCheck = Callable[[], str | None]
"""None: yes. Else why not."""

_MOST_CONNECTIONS: Final = 64
_REQUEST_S: Final = 2.0
"""For a complete request to arrive."""
_ANSWER_S: Final = 10.0
"""For a response to be read: metrics of many providers are some hundred kilobytes."""
_LONGEST_REQUEST: Final = 16 * 1024
"""Bytes; of a probe a few hundred."""
_TEXT: Final = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


class HttpResponse(NamedTuple):
    """Status, content type and body."""

    status: HTTPStatus
    type: str
    body: bytes


HttpRoutes = Mapping[str, Callable[[], HttpResponse]]
"""By path; each is called in the event loop."""


def probes(healthy: HealthCheck, ready: HealthCheck, remarks: HealthCheck = lambda: None) -> HttpRoutes:
    """The kubelet's paths. `remarks` adds to the page what is amiss although we are ready."""
    return {"/healthz": lambda: _page(healthy()), "/readyz": lambda: _page(ready(), remarks())}


def metrics(registry: CollectorRegistry) -> HttpRoutes:
    """The path for Prometheus."""
    return {"/metrics": lambda: HttpResponse(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))}


@asynccontextmanager
async def serve_http(address: HostPort, routes: HttpRoutes) -> AsyncIterator[int]:
    """Answer inside the block; gives the port, which differs for port 0. Raises OSError.

    The host `[::]` means IPv4 as well.
    """
    connections = _Connections(routes)
    server = await asyncio.start_server(connections.handle, sock=_listening(address), limit=_LONGEST_REQUEST)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        connections.close()


class _Connections:
    def __init__(self, routes: HttpRoutes) -> None:
        self._routes = routes
        self._open: dict[asyncio.StreamWriter, None] = {}
        """The oldest first."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST_CONNECTIONS:
            self._abort(next(iter(self._open)))
        self._open[writer] = None
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(_ANSWER_S):
                writer.write(_bytes(self._response(head), head.startswith(b"HEAD ")))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # The client has left, is slow, or does not speak HTTP.
        finally:
            self._abort(writer)

    def close(self) -> None:
        for writer in list(self._open):
            self._abort(writer)

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        self._open.pop(writer, None)
        writer.transport.abort()

    def _response(self, head: bytes) -> HttpResponse:
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return HttpResponse(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET is answered here\n")
        if path not in self._routes:
            available = f"not found; available: {', '.join(self._routes)}\n"
            return HttpResponse(HTTPStatus.NOT_FOUND, _TEXT, available.encode())
        try:
            return self._routes[path]()
        except Exception:
            _log.exception("%s failed; please report this", path)
            return HttpResponse(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"failed; see the log\n")


def _page(why_not: str | None, remarks: str | None = None) -> HttpResponse:
    status = HTTPStatus.SERVICE_UNAVAILABLE if why_not else HTTPStatus.OK
    lines = [why_not or "ok", *([remarks] if remarks else [])]
    return HttpResponse(status, _TEXT, "".join(f"{line}\n" for line in lines).encode())


def _bytes(response: HttpResponse, head_only: bool) -> bytes:
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\ncontent-type: {response.type}\r\n"
        f"content-length: {len(response.body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() if head_only else head.encode() + response.body


def _listening(address: HostPort) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server(address, family=family, dualstack_ipv6=address.host == "::", backlog=128)
