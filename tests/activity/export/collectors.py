"""Collectors that speak OTLP, by gRPC and by HTTP, and do what a test tells them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Protocol

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Received:
    """What a collector was sent, and how it is to answer."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.refuses = False
        self.open = Event()
        self.open.set()

    def spans(self) -> list[Span]:
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
def grpc_collector(port: int = 0) -> Iterator[tuple[str, Received]]:
    received = Received()

    class Service(TraceServiceServicer):  # type: ignore[misc,unused-ignore]
        def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
            received.open.wait()
            if received.refuses:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
            received.headers.append({name: str(value) for name, value in context.invocation_metadata()})
            received.requests.append(request)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(Service(), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"http://127.0.0.1:{bound}", received
    finally:
        received.open.set()
        server.stop(None).wait()


@contextmanager
def http_collector(port: int = 0) -> Iterator[tuple[str, Received]]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.open.wait()
            known = self.path == "/v1/traces" and not received.refuses
            if known:
                received.headers.append({name.lower(): value for name, value in self.headers.items()})
                received.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200 if known else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        received.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
