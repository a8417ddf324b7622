"""Delta ADS: which resources each Envoy has, lacks or rejected. Knows bytes and versions, never providers.

`ResourceSet` is what should be served, `Stream` is what one connection still has to be told (a state machine without
gRPC), `XdsServer` joins them and remembers per node what its Envoy acknowledged. Protocol: the "xDS REST and gRPC
protocol" page of Envoy's documentation, incremental variant.

Pushes never wait for an ACK: Envoy withholds the ACKs of clusters while any cluster is warming.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from limpet_operator.metrics import Metrics, short_type

CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type's name)
LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

_ADD_ORDER: Final = {CLUSTER: 0, SECRET: 1, LISTENER: 2, ROUTE: 3}
"""Make before break: what is referred to comes before what refers to it."""
_REMOVE_ORDER: Final = {LISTENER: 0, ROUTE: 1, CLUSTER: 2, SECRET: 3}

_RESPONSE_BYTES: Final = 3 * 1024 * 1024
"""A response of several resources stays below this; gRPC peers refuse over 4 MiB unless told otherwise."""
_OPEN_RESPONSES: Final = 256
"""Unanswered responses remembered one by one; the oldest are answered for by their successors."""
_GONE_NODES: Final = 256
"""Nodes without a stream whose acknowledgements are kept for their return."""

Key = tuple[str, str]
"""Type URL and name."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resource:
    """One Envoy resource. `body` is the serialized message, without the `Any` around it."""

    name: str
    type_url: str
    body: bytes

    @property
    def key(self) -> Key:
        """Type URL and name."""
        return self.type_url, self.name


@dataclass(frozen=True, slots=True)
class Versioned:
    """A resource and the short hash of its content; equal versions are equal bodies."""

    resource: Resource
    version: str


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """Everything that Envoy should have; immutable, a change copies the names of the types it touches."""

    by_type: Mapping[str, Mapping[str, Versioned]] = field(default_factory=dict)

    def version(self, key: Key) -> str | None:
        """The version under this key; None: there is no such resource."""
        entry = self.by_type.get(key[0], {}).get(key[1])
        return entry.version if entry else None

    def keys(self) -> set[Key]:
        """Every resource's type URL and name."""
        return {(type_url, name) for type_url, names in self.by_type.items() for name in names}

    def updated(self, changed: Iterable[Resource], removed: Iterable[Key]) -> tuple["ResourceSet", set[Key]]:
        """The set after a change, and the keys whose content really differs. A key in both is kept."""
        copies: dict[str, dict[str, Versioned]] = {}
        touched: set[Key] = set()

        def names_of(type_url: str) -> dict[str, Versioned]:
            return copies.setdefault(type_url, dict(self.by_type.get(type_url, {})))

        for type_url, name in removed:
            if names_of(type_url).pop(name, None):
                touched.add((type_url, name))
        for resource in changed:
            version = blake2b(resource.body, digest_size=8).hexdigest()
            names_of(resource.type_url)[resource.name] = Versioned(resource, version)
            if self.version(resource.key) == version:
                touched.discard(resource.key)
            else:
                touched.add(resource.key)
        return ResourceSet({**self.by_type, **copies}), touched


@dataclass(frozen=True, slots=True)
class Nack:
    """An Envoy refuses this version of a resource, in its own words; what it had before goes on serving."""

    node: str
    type_url: str
    name: str
    version: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request of Envoy said about versions; a version of "" is a removal."""

    type_url: str
    had: Mapping[str, str] | None = None
    """First word about this type: what Envoy brought along from an earlier stream."""
    accepted: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    """Envoy's words: the response was rejected. None: it was not, or the request answers none."""
    answers: bool = False


@dataclass(slots=True)
class _Subscription:
    """One type on one stream."""

    type_url: str
    wildcard: bool = False
    named: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    """The version last sent, rejected ones too: nothing is sent twice."""
    dirty: dict[str, None] = field(default_factory=dict)
    """Names to look at again when the stream can take a response; an ordered set, so it never outgrows the names."""
    apart: deque[dict[str, str]] = field(default_factory=deque)
    """Parts of a rejected response, to find out which resource is the bad one."""
    open: dict[str, dict[str, str]] = field(default_factory=dict)
    """Nonce -> versions in that response, oldest first."""
    owes_answer: bool = False
    """Envoy waits for a first response of a wildcard type even when there is nothing."""

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.named or name in self.sent


class Stream:
    """What one Envoy connection still has to be told; responses are built only when the connection can take them."""

    def __init__(self) -> None:
        self.node: str | None = None
        """Envoy names itself in the first request only."""
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = count(1)

    def mark(self, touched: Iterable[Key]) -> None:
        """These resources differ from before."""
        for type_url, name in touched:
            subscription = self._subscriptions.get(type_url)
            if subscription and subscription.wants(name):
                subscription.dirty[name] = None

    def on_request(self, request: Any, resources: ResourceSet) -> Answer:
        """Take in a DeltaDiscoveryRequest: subscriptions, and the answer to an earlier response."""
        if self.node is None:
            self.node = request.node.id
        type_url = request.type_url
        had: dict[str, str] | None = None
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            had = dict(request.initial_resource_versions)
            wildcard = not request.resource_names_subscribe
            subscription = _Subscription(type_url, wildcard=wildcard, sent=dict(had), dirty=dict.fromkeys(had))
            subscription.owes_answer = not had and (wildcard or "*" in request.resource_names_subscribe)
            self._subscriptions[type_url] = subscription
            if wildcard:
                subscription.dirty.update(dict.fromkeys(resources.by_type.get(type_url, {})))
        self._subscribe(subscription, request, had or {}, resources)
        if not request.response_nonce:
            return Answer(type_url, had)
        versions = subscription.open.pop(request.response_nonce, None)
        if not request.HasField("error_detail"):
            return Answer(type_url, had, accepted=versions or {}, answers=True)
        message = _without_dump(request.error_detail.message)
        accepted, rejected = _blame(versions or {}, message)
        if len(rejected) > 1:
            # Envoy did not say which one, or none of them was applied: halves show it, and let the good ones through.
            items = [
                (name, version) for name, version in rejected.items() if subscription.sent.get(name, "") == version
            ]
            half = (len(items) + 1) // 2
            subscription.apart.extend(dict(part) for part in (items[:half], items[half:]) if part)
            rejected = {}
        return Answer(type_url, had, accepted, rejected, message, answers=True)

    def next_response(self, resources: ResourceSet) -> Any | None:
        """The next DeltaDiscoveryResponse to send, or None when Envoy has been told everything."""
        for subscription in sorted(self._subscriptions.values(), key=lambda s: _ADD_ORDER.get(s.type_url, 9)):
            if (subscription.dirty or subscription.apart or subscription.owes_answer) and (
                response := self._additions(subscription, resources)
            ):
                return response
        for subscription in sorted(self._subscriptions.values(), key=lambda s: _REMOVE_ORDER.get(s.type_url, 9)):
            if subscription.dirty and (response := self._removals(subscription)):
                return response
        return None

    @staticmethod
    def _subscribe(subscription: _Subscription, request: Any, had: Mapping[str, str], resources: ResourceSet) -> None:
        for name in request.resource_names_unsubscribe:
            subscription.named.discard(name)
            if name == "*":
                subscription.wildcard = False
            elif not subscription.wildcard:
                subscription.sent.pop(name, None)
                subscription.dirty.pop(name, None)
        for name in request.resource_names_subscribe:
            if name == "*":
                subscription.wildcard = True
                subscription.dirty.update(dict.fromkeys(resources.by_type.get(subscription.type_url, {})))
                continue
            subscription.named.add(name)
            if name not in had:
                subscription.sent.pop(name, None)  # Asked for again: the protocol wants it sent again.
            # No "removed" for a name that is unknown yet: Envoy would let a cluster without its secret go active and
            # answer 401; told nothing, it keeps it warming, and the old one serves.
            subscription.dirty[name] = None

    def _additions(self, subscription: _Subscription, resources: ResourceSet) -> Any | None:
        existing = resources.by_type.get(subscription.type_url, {})
        versions: dict[str, str] = {}
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=subscription.type_url)
        while subscription.apart and not versions:
            for name, version in subscription.apart.popleft().items():
                if name in existing and subscription.sent.get(name) == version == existing[name].version:
                    versions[name] = version
                    _add(response, existing[name])
        if not versions:
            size = 0
            for name in list(subscription.dirty):
                entry = existing.get(name)
                if entry is None:
                    continue
                if subscription.sent.get(name) != entry.version:
                    size += len(entry.resource.body)
                    if size > _RESPONSE_BYTES and versions:
                        break
                    versions[name] = entry.version
                    _add(response, entry)
                del subscription.dirty[name]
        if not versions and not subscription.owes_answer:
            return None
        subscription.sent.update(versions)
        return self._opened(subscription, response, versions)

    def _removals(self, subscription: _Subscription) -> Any | None:
        gone = [name for name in subscription.dirty if name in subscription.sent]
        subscription.dirty.clear()  # What exists was sent before; what was never sent needs no removal.
        if not gone:
            return None
        for name in gone:
            del subscription.sent[name]
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=subscription.type_url, removed_resources=gone)
        return self._opened(subscription, response, dict.fromkeys(gone, ""))

    def _opened(self, subscription: _Subscription, response: Any, versions: dict[str, str]) -> Any:
        response.nonce = str(next(self._nonces))
        subscription.owes_answer = False
        subscription.open[response.nonce] = versions
        if len(subscription.open) > _OPEN_RESPONSES:
            oldest, successor = list(subscription.open)[:2]
            subscription.open[successor] = subscription.open.pop(oldest) | subscription.open[successor]
        return response


def _add(response: Any, entry: Versioned) -> None:
    added = response.resources.add(name=entry.resource.name, version=entry.version)
    added.resource.type_url = entry.resource.type_url
    added.resource.value = entry.resource.body


def _without_dump(message: str) -> str:
    """Envoy's words; behind them it may print the whole resource, which nobody can read and which may be secret."""
    return message.partition(": goo.gle/debug")[0].strip()


def _blame(versions: dict[str, str], message: str) -> tuple[dict[str, str], dict[str, str]]:
    """Which resources of a rejected response Envoy applied, and which may be the bad ones.

    Of clusters and listeners Envoy applies the good ones and lists the others as `name: reason`; any other message may
    mean that it applied none.
    """
    rejected = versions
    if message.startswith("Error adding/updating"):
        words = message.replace("\n", " ")
        rejected = {name: version for name, version in versions.items() if f" {name}: " in words} or versions
    return {name: version for name, version in versions.items() if name not in rejected}, rejected


@dataclass(slots=True)
class _Node:
    """What is known of one Envoy, across its streams."""

    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    nacks: dict[Key, Nack] = field(default_factory=dict)
    streams: int = 0


class XdsServer:
    """Serves one ResourceSet to every connected Envoy. All methods belong to the event loop that serves."""

    def __init__(self, metrics: Metrics, on_nack: Callable[[Nack], None], on_acks: Callable[[str], None]) -> None:
        """`on_acks(node)` runs whenever what that node's Envoy acknowledged changed, `on_nack` at each rejection."""
        self._metrics = metrics
        self._on_nack = on_nack
        self._on_acks = on_acks
        self._resources = ResourceSet()
        self._published = False
        self._streams: dict[Stream, asyncio.Event] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._nodes: dict[str, _Node] = {}

    @property
    def resources(self) -> ResourceSet:
        """What is published now."""
        return self._resources

    @property
    def nacks(self) -> tuple[Nack, ...]:
        """What connected Envoys refuse now; an entry goes when a later version of the resource is accepted."""
        return tuple(nack for node in self._nodes.values() if node.streams for nack in node.nacks.values())

    def acknowledged(self, node: str) -> Mapping[str, Mapping[str, str]] | None:
        """Type URL -> name -> version that this node's Envoy has; None: it never reported. Survives a broken stream."""
        known = self._nodes.get(node)
        return MappingProxyType(known.acknowledged) if known else None

    def publish(self, changed: Iterable[Resource] = (), removed: Iterable[Key] = ()) -> None:
        """Serve these from now on. Until the first call Envoys wait: an empty answer would take away what they have."""
        self._resources, touched = self._resources.updated(changed, removed)
        self._published = True
        for type_url in {key[0] for key in touched}:
            self._metrics.xds_resources.labels(short_type(type_url)).set(len(self._resources.by_type[type_url]))
        for stream, wake in self._streams.items():
            stream.mark(touched)
            wake.set()

    def set_all(self, resources: Iterable[Resource]) -> None:
        """Serve exactly these."""
        wanted = list(resources)
        self.publish(wanted, self._resources.keys() - {resource.key for resource in wanted})

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
        stream, wake = Stream(), asyncio.Event()
        self._streams[stream] = wake
        self._metrics.xds_streams.inc()
        reader = asyncio.create_task(self._read(requests, stream, wake))
        self._readers.add(reader)
        reader.add_done_callback(lambda _: wake.set())
        try:
            while not reader.done():
                wake.clear()
                while self._published and (response := stream.next_response(self._resources)) is not None:
                    self._withdraw(stream.node, response)
                    await context.write(response)
                await wake.wait()
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, grpc.RpcError):
                await reader
            self._readers.discard(reader)
            del self._streams[stream]
            self._metrics.xds_streams.dec()
            self._leave(stream.node)

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

    def _leave(self, node_id: str | None) -> None:
        node = self._nodes.pop(node_id, None) if node_id is not None else None
        if node is None or node_id is None:
            return
        node.streams -= 1
        self._nodes[node_id] = node  # Last in line to be forgotten.
        gone = [name for name, known in self._nodes.items() if not known.streams]
        for name in gone[: max(0, len(gone) - _GONE_NODES)]:
            del self._nodes[name]


_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.so_reuseport", 0),  # Else a second operator on the same port would silently take half of the connections.
    ("grpc.keepalive_time_ms", 30_000),  # A peer whose machine died leaves no FIN.
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


async def serve(address: str, *handlers: "grpc.GenericRpcHandler[Any, Any]") -> grpc.aio.Server:
    """Start a server on `unix:/path` or `host:port`; the caller stops it. OSError: the address can't be had."""
    server = grpc.aio.server(options=_CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(
            f"can't listen for Envoy and ext_proc on {address}: is it in use, or its directory missing?"
        ) from error
    await server.start()
    return server
