"""A few pages over HTTP, for probes and Prometheus: served on a TCP or Unix socket, and fetched from a Unix socket."""

import http.client
import logging
import socket
import socketserver
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

_log = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 64
"""Each is a thread. One too many ends the oldest: anyone who reaches the port could block it by staying connected."""

_REQUEST_S: Final = 2.0
"""How long a connection may be silent before its request has come."""
_RESPONSE_S: Final = 10.0
"""For a client to take a response: metrics of many workers are some hundred kilobytes."""

TEXT: Final = "text/plain; charset=utf-8"


class Response:
    """A status, a content type and a body."""

    __slots__ = ("body", "status", "type")

    def __init__(self, body: str | bytes, status: int = 200, type_: str = TEXT) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.type = type_


Routes = Mapping[str, Callable[[], Response]]
"""By path. Each is called on its own thread."""


class _Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    request_queue_size = _MAX_CONNECTIONS

    def __init__(self, *args: Any) -> None:
        self._open: dict[socket.socket, None] = {}
        """The oldest first."""
        self._changing = Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            if len(self._open) >= _MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):  # It has just ended.
                    oldest.shutdown(socket.SHUT_RDWR)
            self._open[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changing:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("an HTTP client left early")


class _Tcp(_Threads, socketserver.TCPServer):
    allow_reuse_address = True


class _Tcp6(_Tcp):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        # All addresses of IPv6 are all of IPv4 as well, whatever the machine's default is.
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.server_address[0] != "::")
        super().server_bind()


class _Unix(_Threads, socketserver.UnixStreamServer):
    """On a path."""


def serve_http(address: Path | tuple[str, int], routes: Routes) -> socketserver.BaseServer:
    """Serve on threads until `shutdown()` and `server_close()`. Raises OSError if it cannot listen there.

    The host `::` means IPv4 as well.
    """
    handler = _handler(routes)
    server: socketserver.BaseServer
    if isinstance(address, Path):
        address.unlink(missing_ok=True)
        server = _Unix(str(address), handler)
    else:
        server = (_Tcp6 if ":" in address[0] else _Tcp)(address, handler)
    Thread(target=server.serve_forever, args=(0.1,), name="pages", daemon=True).start()
    return server


def _handler(routes: Routes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            self.connection.settimeout(_RESPONSE_S)
            path = self.path.partition("?")[0]
            missing = Response(f"not found; available: {', '.join(routes)}\n", 404)
            try:
                response = routes[path]() if path in routes else missing
            except Exception:
                _log.exception("%s failed; please report this", path)
                response = Response("failed; see the log\n", 500)
            self.send_response(response.status)
            self.send_header("content-type", response.type)
            self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name it has in the base class)
            """Probes come every few seconds and would hide other lines."""

    return Handler


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(socket_path: Path, path: str, timeout_s: float) -> bytes | None:
    """A page from a server on a Unix socket; None if it does not come in time, whatever the reason."""
    try:
        with closing(_UnixConnection(socket_path, timeout_s)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None


def accepts(socket_path: Path, timeout_s: float) -> bool:
    """Whether a Unix socket takes connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect(str(socket_path))
        except OSError:
            return False
        return True
