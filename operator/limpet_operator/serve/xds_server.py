"""Delta ADS over gRPC: serves every connected Envoy. `delta` decides what each connection lacks."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from limpet_operator.publish.resource import Resource, ResourceKey
from limpet_operator.serve.acknowledgements import Acknowledgements, Nack, VersionReport
from limpet_operator.serve.delta import DeltaStream, ResourceSet
from limpet_operator.serve.metrics import ControlPlaneMetrics, short_type
from limpet_operator.serve.tasks import OpenStreams

_log = logging.getLogger(__name__)


class XdsServer:
    """Serves one ResourceSet to every connected Envoy. All methods belong to the event loop that serves."""

    def __init__(
        self,
        acks: Acknowledgements,
        metrics: ControlPlaneMetrics,
        on_nack: Callable[[Nack], None],
        on_acks: Callable[[str], None],
        linger_s: float = 0.0,
    ) -> None:
        """`on_acks(node)` runs when that Envoy acknowledged something or left, `on_nack` when it rejects something.

        `linger_s`: how long an Envoy that comes from another replica, or from before our start, keeps what we do not
        serve: the workers beside it may still decide by it.
        """
        self._acks = acks
        self._metrics = metrics
        self._on_nack = on_nack
        self._on_acks = on_acks
        self._linger_s = linger_s
        self._resources = ResourceSet()
        self._published = False
        self._streams: dict[DeltaStream, asyncio.Event] = {}
        self._open = OpenStreams()

    @property
    def resources(self) -> ResourceSet:
        """What is published now."""
        return self._resources

    def publish(self, changed: Iterable[Resource] = (), removed: Iterable[ResourceKey] = ()) -> None:
        """Serve these from now on. Until the first call Envoys wait: an empty answer would take away what they have."""
        self._resources, touched = self._resources.updated(changed, removed)
        self._published = True
        for type_url in {key[0] for key in touched}:
            self._metrics.xds_resources.labels(short_type(type_url)).set(len(self._resources.by_type[type_url]))
        for stream, wake in self._streams.items():
            stream.mark(touched)
            wake.set()

    @property
    def published(self) -> bool:
        """Whether anything has been published: before that nobody is to be told that there is nothing."""
        return self._published

    @contextmanager
    def following(self, stream: DeltaStream) -> Iterator[asyncio.Event]:
        """Marks in a stream whatever changes for as long as the block runs, and then sets the event."""
        wake = self._streams[stream] = asyncio.Event()
        try:
            yield wake
        finally:
            del self._streams[stream]

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The ADS service for `serve`; delta only."""
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": method}
        )

    def close(self) -> None:
        """End every stream in good order; for just before the server's `stop(grace)`, which would break them off."""
        self._open.close()

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        stream, wake = DeltaStream(lingers=self._linger_s > 0), asyncio.Event()
        async with self._open.beside(self._read(requests, stream, wake), grpc.RpcError) as reader:
            reader.add_done_callback(lambda _: wake.set())
            lingering = asyncio.get_running_loop().call_later(self._linger_s, _release, stream, wake)
            self._streams[stream] = wake
            self._metrics.xds_streams.inc()
            try:
                while not reader.done():
                    wake.clear()
                    while self._published and (response := stream.next_response(self._resources)) is not None:
                        self._account(stream.node, response)
                        await context.write(response)
                    await wake.wait()
            finally:
                # Before anything is waited for, so that nothing that goes wrong here keeps an Envoy that has left.
                lingering.cancel()
                del self._streams[stream]
                self._metrics.xds_streams.dec()
                if stream.node is not None:
                    self._acks.stream_closed(stream.node)
                    self._on_acks(stream.node)

    async def _read(self, requests: AsyncIterator[Any], stream: DeltaStream, wake: asyncio.Event) -> None:
        async for request in requests:
            if stream.node is None:
                self._acks.stream_opened(request.node.id)
            report = stream.on_request(request, self._resources)
            self._learn(stream.node or "", report)
            wake.set()

    def _learn(self, node: str, report: VersionReport) -> None:
        nacks = self._acks.record(node, report)
        if report.message is not None:
            self._metrics.xds_nacks.labels(short_type(report.type_url)).inc()
        elif report.to_response:
            self._metrics.xds_acks.labels(short_type(report.type_url)).inc()
        for nack in nacks:
            _log.warning(
                "Envoy %s rejects %s %s, its last good version goes on serving: %s",
                node, short_type(nack.type_url), nack.name, nack.message,
            )  # fmt: skip
            self._on_nack(nack)
        if report.had is not None or report.accepted:
            self._on_acks(node)

    def _account(self, node: str | None, response: Any) -> None:
        if node is not None:
            self._acks.withdraw(node, response.type_url, response.removed_resources)
        short = short_type(response.type_url)
        self._metrics.xds_pushed.labels(short).inc(len(response.resources))
        self._metrics.xds_removed.labels(short).inc(len(response.removed_resources))


def _release(stream: DeltaStream, wake: asyncio.Event) -> None:
    stream.release()
    wake.set()
