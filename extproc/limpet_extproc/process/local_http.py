"""A few pages over HTTP, for probes and Prometheus: served on a TCP or Unix socket, and asked for on a Unix socket."""

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

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64
"""Connections, each of which is a thread. One too many ends the oldest: others may reach the port too, and must not
keep us out by only staying connected."""

_REQUEST_S: Final = 2.0
"""How long a connection may be silent before its request is there."""
_ANSWER_S: Final = 10.0
"""For an answer to be taken: metrics of many workers are some hundred kilobytes."""

TEXT: Final = "text/plain; charset=utf-8"


class Response:
    """An answer: its status, its type and its bytes."""

    __slots__ = ("body", "status", "type")

    def __init__(self, body: str | bytes, status: int = 200, type_: str = TEXT) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.type = type_


Routes = Mapping[str, Callable[[], Response]]
"""By path. Each is called on a thread of its own."""


class _Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    request_queue_size = _AT_ONCE

    def __init__(self, *args: Any) -> None:
        self._open: dict[socket.socket, None] = {}
        """The oldest first."""
        self._changing = Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            if len(self._open) >= _AT_ONCE:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):  # It has just ended by itself.
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
        log.debug("a client of the pages left early")


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


def serve_pages(address: Path | tuple[str, int], pages: Routes) -> socketserver.BaseServer:
    """Serve on threads until `shutdown()` and `server_close()`. Raises OSError if the address can't be had.

    The host `::` means IPv4 as well.
    """
    handler = _handler(pages)
    server: socketserver.BaseServer
    if isinstance(address, Path):
        address.unlink(missing_ok=True)
        server = _Unix(str(address), handler)
    else:
        server = (_Tcp6 if ":" in address[0] else _Tcp)(address, handler)
    Thread(target=server.serve_forever, args=(0.1,), name="pages", daemon=True).start()
    return server


def _handler(pages: Routes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S

        def do_GET(self) -> None:
            self.connection.settimeout(_ANSWER_S)
            path = self.path.partition("?")[0]
            try:
                answer = pages[path]() if path in pages else Response(f"there is {', '.join(pages)}\n", 404)
            except Exception:
                log.exception("%s could not be made; please report this", path)
                answer = Response("could not be made; the log says why\n", 500)
            self.send_response(answer.status)
            self.send_header("content-type", answer.type)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name it has in the base class)
            """Probes come every few seconds and are not news."""

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
    """A page of a server on a Unix socket; None if it does not come in time, whatever the reason."""
    try:
        with closing(_UnixConnection(socket_path, timeout_s)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None


def accepts(socket_path: Path, timeout_s: float) -> bool:
    """Whether somebody takes connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect(str(socket_path))
        except OSError:
            return False
        return True
