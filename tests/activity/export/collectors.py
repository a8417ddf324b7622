"""Collectors that speak OTLP, by gRPC and by HTTP, and do what a test tells them."""

import gzip
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Protocol

import grpc

from limpet_activity.export.otlp_messages import TRACE_SERVICE, ExportRequest


class Received:
    """What a collector was sent, and how it is to answer."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.refuses = False
        self.open = Event()
        self.open.set()

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def resource(self) -> dict[str, str]:
        found = self.requests[0].resource_spans[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in found}


class Collector(Protocol):
    """Starts one on a port, 0 for any; the value of the context is its endpoint and what it receives."""

    def __call__(self, port: int = 0) -> Any: ...


@contextmanager
def grpc_collector(port: int = 0, tls: grpc.ServerCredentials | None = None) -> Iterator[tuple[str, Received]]:
    received = Received()

    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        received.open.wait()
        if received.refuses:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        received.headers.append({name: str(value) for name, value in context.invocation_metadata()})
        received.requests.append(ExportRequest.FromString(request))
        return b""

    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(TRACE_SERVICE, {"Export": handler}),))
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, tls) if tls is not None else server.add_insecure_port(address)
    server.start()
    try:
        yield f"http{'s' if tls is not None else ''}://127.0.0.1:{bound}", received
    finally:
        received.open.set()
        server.stop(None).wait()


@contextmanager
def http_collector(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, Received]]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.open.wait()
            known = self.path == "/v1/traces" and not received.refuses
            if known:
                received.headers.append({name.lower(): value for name, value in self.headers.items()})
                plain = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
                received.requests.append(ExportRequest.FromString(plain))
            self.send_response(200 if known else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http{'s' if tls is not None else ''}://127.0.0.1:{server.server_address[1]}", received
    finally:
        received.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
