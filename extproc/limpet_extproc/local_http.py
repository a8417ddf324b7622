"""A few pages over HTTP, for probes and Prometheus: served on a TCP or Unix socket, and asked for on a Unix socket."""

import http.client
import socket
import socketserver
from collections.abc import Callable, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Final

TEXT: Final = "text/plain; charset=utf-8"


class Page:
    """An answer: its status, its type and its bytes."""

    __slots__ = ("body", "status", "type")

    def __init__(self, body: str | bytes, status: int = 200, type_: str = TEXT) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.type = type_


Pages = Mapping[str, Callable[[], Page]]
"""By path. Each is called on a thread of its own."""


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Tcp6(_Tcp):
    address_family = socket.AF_INET6


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def serve_pages(address: Path | tuple[str, int], pages: Pages) -> socketserver.BaseServer:
    """Serve on threads until `shutdown()` and `server_close()`. Raises OSError if the address can't be had."""
    handler = _handler(pages)
    server: socketserver.BaseServer
    if isinstance(address, Path):
        address.unlink(missing_ok=True)
        server = _Unix(str(address), handler)
    else:
        server = (_Tcp6 if ":" in address[0] else _Tcp)(address, handler)
    Thread(target=server.serve_forever, args=(0.1,), name="pages", daemon=True).start()
    return server


def _handler(pages: Pages) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            answer = page() if page else Page(f"there is {', '.join(pages)}\n", 404)
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
