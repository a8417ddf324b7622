"""Delta ADS: serves every connected Envoy, and remembers per node what its Envoy acknowledged and what it refuses.

What a connection still has to be told is `limpet_operator.serve.delta`'s business.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from limpet_operator.publish.resource import Key, Resource
from limpet_operator.serve.delta import Answer, ResourceSet, Stream
from limpet_operator.serve.metrics import Metrics, short_type

_GONE_NODES: Final = 256
"""Nodes without a stream whose acknowledgements are kept for their return."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Nack:
    """An Envoy refuses this version of a resource, in its own words; what it had before goes on serving."""

    node: str
    type_url: str
    name: str
    version: str
    message: str


@dataclass(slots=True)
class _Node:
    """What is known of one Envoy, across its streams."""

    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    nacks: dict[Key, Nack] = field(default_factory=dict)
    streams: int = 0


class XdsServer:
    """Serves one ResourceSet to every connected Envoy. All methods belong to the event loop that serves."""

    def __init__(
        self,
        metrics: Metrics,
        on_nack: Callable[[Nack], None],
        on_acks: Callable[[str], None],
        linger_s: float = 0.0,
    ) -> None:
        """`on_acks(node)` runs when what that node's Envoy acknowledged changed or it left, `on_nack` when it rejects.

        `linger_s`: how long an Envoy that comes from another replica, or from before our start, keeps what we do not
        serve: the workers beside it may still decide by it.
        """
        self._metrics = metrics
        self._on_nack = on_nack
        self._on_acks = on_acks
        self._linger_s = linger_s
        self._resources = ResourceSet()
        self._published = False
        self._streams: dict[Stream, asyncio.Event] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._nodes: dict[str, _Node] = {}

    @property
    def resources(self) -> ResourceSet:
        """What is published now."""
        return self._resources

    def acknowledged(self, node: str) -> Mapping[str, Mapping[str, str]] | None:
        """Type URL -> name -> version that this node's Envoy has; None: it never reported. Survives a broken stream."""
        known = self._nodes.get(node)
        return MappingProxyType(known.acknowledged) if known else None

    def connected(self, node: str) -> bool:
        """Whether this node's Envoy has a stream to us now."""
        known = self._nodes.get(node)
        return known is not None and known.streams > 0

    @property
    def connected_nodes(self) -> tuple[str, ...]:
        """The nodes whose Envoys have a stream to us now."""
        return tuple(name for name, known in self._nodes.items() if known.streams)

    def refused(self, node: str) -> Mapping[Key, Nack]:
        """What this node's Envoy refuses now."""
        known = self._nodes.get(node)
        return MappingProxyType(known.nacks) if known else {}

    def publish(self, changed: Iterable[Resource] = (), removed: Iterable[Key] = ()) -> None:
        """Serve these from now on. Until the first call Envoys wait: an empty answer would take away what they have."""
        self._resources, touched = self._resources.updated(changed, removed)
        self._published = True
        for type_url in {key[0] for key in touched}:
            self._metrics.xds_resources.labels(short_type(type_url)).set(len(self._resources.by_type[type_url]))
        for stream, wake in self._streams.items():
            stream.mark(touched)
            wake.set()

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
        for reader in self._readers:
            reader.cancel()

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        stream, wake = Stream(holds=self._linger_s > 0), asyncio.Event()
        self._streams[stream] = wake
        lingering = asyncio.get_running_loop().call_later(self._linger_s, _release, stream, wake)
        self._metrics.xds_streams.inc()
        reader = asyncio.create_task(self._read(requests, stream, wake))
        self._readers.add(reader)
        reader.add_done_callback(lambda _: wake.set())
        try:
            while not reader.done():
                wake.clear()
                while self._published and (response := stream.next_response(self._resources)) is not None:
                    self._withdraw(stream.node, response)
                    self._count_sent(response)
                    await context.write(response)
                await wake.wait()
        finally:
            lingering.cancel()
            reader.cancel()
            # Before anything is waited for, so that nothing that goes wrong here keeps an Envoy that has left.
            self._readers.discard(reader)
            del self._streams[stream]
            self._metrics.xds_streams.dec()
            self._leave(stream.node)
            (error,) = await asyncio.gather(reader, return_exceptions=True)
            if error is not None and not isinstance(error, (asyncio.CancelledError, grpc.RpcError)):
                raise error

    async def _read(self, requests: AsyncIterator[Any], stream: Stream, wake: asyncio.Event) -> None:
        async for request in requests:
            if stream.node is None:
                self._nodes.setdefault(request.node.id, _Node()).streams += 1
            answer = stream.on_request(request, self._resources)
            self._learn(stream.node or "", answer)
            wake.set()

    def _learn(self, node_id: str, answer: Answer) -> None:
        node = self._nodes[node_id]
        acknowledged = node.acknowledged.setdefault(answer.type_url, {})
        if answer.had is not None and not answer.had:
            acknowledged.clear()  # A new Envoy process: what its predecessor had is gone.
        # Envoy does not bring along what it took from a response that it rejected in part: this adds, never replaces.
        acknowledged.update(answer.had or {})
        for name, version in answer.accepted.items():
            if version:
                acknowledged[name] = version
            node.nacks.pop((answer.type_url, name), None)
        if answer.answers and answer.message is None:
            self._metrics.xds_acks.labels(short_type(answer.type_url)).inc()
        elif answer.message is not None:
            self._metrics.xds_nacks.labels(short_type(answer.type_url)).inc()
            for name, version in answer.rejected.items():
                nack = Nack(node_id, answer.type_url, name, version, answer.message)
                node.nacks[answer.type_url, name] = nack
                _log.warning(
                    "Envoy %s rejects %s %s, its last good version goes on serving: %s",
                    node_id, short_type(nack.type_url), name, nack.message,
                )  # fmt: skip
                self._on_nack(nack)
        if answer.had is not None or answer.accepted:
            self._on_acks(node_id)

    def _withdraw(self, node_id: str | None, response: Any) -> None:
        """A removal counts from when it is sent: until its ACK nobody knows whether Envoy still has the resource."""
        node = self._nodes.get(node_id or "")
        for name in response.removed_resources if node else ():
            assert node is not None
            node.acknowledged.get(response.type_url, {}).pop(name, None)
            node.nacks.pop((response.type_url, name), None)

    def _count_sent(self, response: Any) -> None:
        short = short_type(response.type_url)
        self._metrics.xds_pushed.labels(short).inc(len(response.resources))
        self._metrics.xds_removed.labels(short).inc(len(response.removed_resources))

    def _leave(self, node_id: str | None) -> None:
        node = self._nodes.pop(node_id, None) if node_id is not None else None
        if node is None or node_id is None:
            return
        node.streams -= 1
        self._nodes[node_id] = node  # Last in line to be forgotten.
        self._on_acks(node_id)
        gone = [name for name, known in self._nodes.items() if not known.streams]
        for name in gone[: max(0, len(gone) - _GONE_NODES)]:
            del self._nodes[name]


def _release(stream: Stream, wake: asyncio.Event) -> None:
    stream.release()
    wake.set()


_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.so_reuseport", 0),  # Else a second operator on the same port would silently take half of the connections.
    ("grpc.keepalive_time_ms", 30_000),  # A peer whose machine died leaves no FIN.
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # By default a minute, and a ping under way holds up the keepalive's.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


async def serve(
    address: str, *handlers: "grpc.GenericRpcHandler[Any, Any]", credentials: grpc.ServerCredentials | None = None
) -> grpc.aio.Server:
    """Start a server on `unix:/path` or `host:port`; the caller stops it. OSError: the address can't be had.

    Without credentials whoever reaches the address is served: `tls.require_tls` says which addresses that is fit for.
    """
    server = grpc.aio.server(options=_CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(
            f"can't listen for Envoy and ext_proc on {address}: is it in use, or its directory missing?"
        ) from error
    await server.start()
    return server
