"""What one Envoy still lacks: a state machine of delta ADS without gRPC. Knows bytes, never providers.

`ResourceSet` is what should be served, `DeltaStream` what one connection has been sent and still lacks. Protocol: the
"xDS REST and gRPC protocol" page of Envoy's documentation, incremental variant.

Pushes never wait for an ACK: Envoy withholds the ACKs of clusters while any cluster is warming.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2

from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET, Resource, ResourceKey, digest_of
from limpet_operator.serve.acknowledgements import VersionReport

_ADD_ORDER: Final = {CLUSTER: 0, SECRET: 1, LISTENER: 2, ROUTE: 3}
"""Make before break: what is referred to comes before what refers to it.

Clusters that Envoy has, and that have changed, come last: after an upgrade they may need what only the new routes have,
such as the program of every attempt.
"""
_REMOVE_ORDER: Final = {LISTENER: 0, ROUTE: 1, CLUSTER: 2, SECRET: 3}

_RESPONSE_BYTES: Final = 3 * 1024 * 1024
"""A response of several resources stays below this; gRPC peers refuse over 4 MiB by default."""
_OPEN_RESPONSES: Final = 256
"""Unacknowledged responses remembered one by one; the oldest count as acknowledged with their successors."""

_NEVER_TAKEN: Final = ""
"""In place of the version last sent, if Envoy refused it along with others: it is sent when it is published again."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A resource and the short hash of its content, the same at every replica."""

    resource: Resource
    version: str


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """Everything that Envoy should have; immutable, a change copies the names of the types it touches."""

    by_type: Mapping[str, Mapping[str, Versioned]] = field(default_factory=dict)

    def version(self, key: ResourceKey) -> str | None:
        """The version under this key; None: there is no such resource."""
        entry = self.by_type.get(key[0], {}).get(key[1])
        return entry.version if entry else None

    def updated(
        self, changed: Iterable[Resource], removed: Iterable[ResourceKey]
    ) -> tuple["ResourceSet", set[ResourceKey]]:
        """The set after a change, and the keys whose content really differs. A key in both is kept."""
        copies: dict[str, dict[str, Versioned]] = {}
        touched: set[ResourceKey] = set()

        def names_of(type_url: str) -> dict[str, Versioned]:
            return copies.setdefault(type_url, dict(self.by_type.get(type_url, {})))

        for type_url, name in removed:
            if names_of(type_url).pop(name, None):
                touched.add((type_url, name))
        for resource in changed:
            version = resource.digest or digest_of(resource.body)
            names_of(resource.type_url)[resource.name] = Versioned(resource, version)
            if self.version(resource.key) == version:
                touched.discard(resource.key)
            else:
                touched.add(resource.key)
        return ResourceSet({**self.by_type, **copies}), touched


@dataclass(slots=True)
class _Subscription:
    """One type on one stream."""

    type_url: str
    wildcard: bool = False
    named: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    """The version last sent, rejected ones too: nothing is sent twice. See `_NEVER_TAKEN`."""
    dirty: dict[str, None] = field(default_factory=dict)
    """Names to look at again when the stream can take a response; an ordered set, so it never outgrows the names."""
    foreign: set[str] = field(default_factory=set)
    """Brought along and not ours: kept until `DeltaStream.release`."""
    suspects: deque[dict[str, str]] = field(default_factory=deque)
    """Parts of a rejected response, to find out which resource is the bad one."""
    open: dict[str, dict[str, str]] = field(default_factory=dict)
    """Nonce -> versions in that response, oldest first."""
    taken: bool = False
    """Whether Envoy has accepted a response, or had all there was."""
    refused: bool = False
    """Whether Envoy has refused one."""
    owes_first: bool = False
    """Envoy waits for a first response of a wildcard type even when there is nothing."""

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.named or name in self.sent


class DeltaStream:
    """What one connection of an Envoy still lacks; responses are built only when the connection can take them."""

    def __init__(self, *, lingers: bool = False) -> None:
        """`lingers`: what Envoy brings along and we do not serve stays there until `release`."""
        self.node: str | None = None
        """Envoy names itself in the first request only."""
        self._lingers = lingers
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = count(1)

    def mark(self, touched: Iterable[ResourceKey]) -> None:
        """These resources differ from before."""
        for type_url, name in touched:
            subscription = self._subscriptions.get(type_url)
            if subscription and subscription.wants(name):
                subscription.dirty[name] = None

    def on_request(self, request: Any, resources: ResourceSet) -> VersionReport:
        """Take in a DeltaDiscoveryRequest: subscriptions, and whether an earlier response was accepted."""
        if self.node is None:
            self.node = request.node.id
        type_url = request.type_url
        had: dict[str, str] | None = None
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            had = dict(request.initial_resource_versions)
            wildcard = not request.resource_names_subscribe
            subscription = _Subscription(type_url, wildcard=wildcard, sent=dict(had), dirty=dict.fromkeys(had))
            subscription.owes_first = not had and (wildcard or "*" in request.resource_names_subscribe)
            self._subscriptions[type_url] = subscription
            if self._lingers:
                subscription.foreign.update(had.keys() - resources.by_type.get(type_url, {}).keys())
            if wildcard:
                subscription.dirty.update(dict.fromkeys(resources.by_type.get(type_url, {})))
        self._subscribe(subscription, request, had or {}, resources)
        if not request.response_nonce:
            return VersionReport(type_url, had)
        versions = subscription.open.pop(request.response_nonce, None)
        if not request.HasField("error_detail"):
            subscription.taken = True
            return VersionReport(type_url, had, accepted=versions or {}, to_response=True)
        subscription.refused = True
        message = _without_dump(request.error_detail.message)
        accepted, rejected = _blame(versions or {}, message)
        if len(rejected) > 1:
            # Envoy did not name it, or applied none of them: halves find it, and let the good ones through.
            items = [
                (name, version) for name, version in rejected.items() if subscription.sent.get(name, "") == version
            ]
            half = (len(items) + 1) // 2
            subscription.suspects.extend(dict(part) for part in (items[:half], items[half:]) if part)
            rejected = {}
        return VersionReport(type_url, had, accepted, rejected, message, to_response=True)

    def release(self) -> None:
        """From now on Envoy loses at once what is not served."""
        self._lingers = False
        for subscription in self._subscriptions.values():
            subscription.foreign.clear()

    def next_response(self, resources: ResourceSet) -> Any | None:
        """The next DeltaDiscoveryResponse to send, or None when Envoy lacks nothing."""
        for subscription in sorted(self._subscriptions.values(), key=lambda s: _ADD_ORDER.get(s.type_url, 9)):
            if (subscription.dirty or subscription.suspects or subscription.owes_first) and (
                response := self._additions(subscription, resources, new=subscription.type_url == CLUSTER)
            ):
                return response
        clusters = self._subscriptions.get(CLUSTER) if self._routes_are_taken() else None
        if clusters is not None and clusters.dirty and (response := self._additions(clusters, resources)):
            return response
        for subscription in sorted(self._subscriptions.values(), key=lambda s: _REMOVE_ORDER.get(s.type_url, 9)):
            if subscription.dirty and (response := self._removals(subscription, resources)):
                return response
        return None

    def _routes_are_taken(self) -> bool:
        """Whether Envoy has our routes: if it refuses them, what it has goes on serving, clusters and all."""
        routes = self._subscriptions.get(ROUTE)
        if routes is None:
            # An Envoy that comes back asks for its clusters first, and for its routes a moment later.
            return not self._lingers
        routes.taken = routes.taken or not (routes.dirty or routes.open or routes.suspects or routes.refused)
        return routes.taken

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
            # answer 401. Without any response it keeps it warming, and the old one serves.
            subscription.dirty[name] = None

    def _additions(self, subscription: _Subscription, resources: ResourceSet, *, new: bool = False) -> Any | None:
        """What Envoy lacks of a type; `new`: only what it has in no version."""
        existing = resources.by_type.get(subscription.type_url, {})
        versions: dict[str, str] = {}
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=subscription.type_url)
        for name in _suspects(subscription, existing):
            versions[name] = existing[name].version
            _add(response, existing[name])
        if not versions:
            size = 0
            for name in list(subscription.dirty):
                entry = existing.get(name)
                if entry is None or (new and subscription.sent.get(name, entry.version) != entry.version):
                    continue
                if subscription.sent.get(name) != entry.version:
                    size += len(entry.resource.body)
                    if size > _RESPONSE_BYTES and versions:
                        break
                    versions[name] = entry.version
                    _add(response, entry)
                del subscription.dirty[name]
        if not versions and not subscription.owes_first:
            return None
        subscription.sent.update(versions)
        return self._opened(subscription, response, versions)

    def _removals(self, subscription: _Subscription, resources: ResourceSet) -> Any | None:
        # What Envoy brought along stays for now, what exists waits for its turn.
        stays = subscription.foreign | resources.by_type.get(subscription.type_url, {}).keys()
        # What was never sent needs no removal.
        removed = [name for name in subscription.dirty if name in subscription.sent and name not in stays]
        subscription.dirty = {name: None for name in subscription.dirty if name in stays}
        if not removed:
            return None
        for name in removed:
            del subscription.sent[name]
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=subscription.type_url, removed_resources=removed)
        return self._opened(subscription, response, dict.fromkeys(removed, ""))

    def _opened(self, subscription: _Subscription, response: Any, versions: dict[str, str]) -> Any:
        response.nonce = str(next(self._nonces))
        subscription.owes_first = False
        subscription.open[response.nonce] = versions
        if len(subscription.open) > _OPEN_RESPONSES:
            oldest, successor = list(subscription.open)[:2]
            subscription.open[successor] = subscription.open.pop(oldest) | subscription.open[successor]
        return response


def _suspects(subscription: _Subscription, existing: Mapping[str, Versioned]) -> list[str]:
    """The next part of a rejected response, without what has changed since."""
    names: list[str] = []
    while subscription.suspects and not names:
        for name, version in subscription.suspects.popleft().items():
            if subscription.sent.get(name) != version:
                continue
            if name in existing and existing[name].version == version:
                names.append(name)
            else:
                subscription.sent[name] = _NEVER_TAKEN
    return names


def _add(response: Any, entry: Versioned) -> None:
    added = response.resources.add(name=entry.resource.name, version=entry.version)
    added.resource.type_url = entry.resource.type_url
    added.resource.value = entry.resource.body


def _without_dump(message: str) -> str:
    """Envoy's words without the resource that may be printed after them: it is unreadable, and may be secret."""
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
