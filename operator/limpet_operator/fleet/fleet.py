"""All Envoys and workers of the installation as this replica knows them: its own at first hand, the others from peers.

`Fleet` joins the two servers of the data path with the links to the other replicas. Whatever concerns one Envoy is
decided by where that Envoy is connected: there its acknowledgements come in, there a provider is taken away from it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Final, Never, TypeVar

from limpet_operator.fleet.acks import GatewayState, Traffic, in_common, merged
from limpet_operator.fleet.link import Link, Own
from limpet_operator.fleet.peer_contract import Told, Took
from limpet_operator.fleet.traffic import Summary, joined, summary, verdict
from limpet_operator.publish.cluster import secret_name
from limpet_operator.publish.resource import CLUSTER, SECRET
from limpet_operator.serve.catalog_server import CatalogServer
from limpet_operator.serve.metrics import Metrics
from limpet_operator.serve.xds_server import Nack, XdsServer

_Value = TypeVar("_Value")

SETTLE_S: Final = 0.05
"""What changes this soon after another change is told with it: the acknowledgements of one push come one by one."""


def _ignore(*_: object) -> None:
    """For a hook that nobody listens to."""


class Fleet:
    """Implements `acks.FleetView`. All methods belong to the event loop that serves.

    `xds` and `catalogs` serve the data path and work without `run`; peers and `on_change` are told by `run` only.
    """

    def __init__(
        self,
        metrics: Metrics,
        on_nack: Callable[[Nack], None] = _ignore,
        on_change: Callable[[], None] = _ignore,
        linger_s: float = 0.0,
    ) -> None:
        """`on_change()` runs after `gateways` or `traffic` says something new; `linger_s` is XdsServer's."""
        self._metrics = metrics
        self._on_nack = on_nack
        self._on_change = on_change
        self.xds = XdsServer(metrics, self._nacked, self._acks_changed, linger_s)
        self.catalogs = CatalogServer(self, metrics)
        self._links: dict[Link, Callable[[], None]] = {}
        self._wake = asyncio.Event()
        self._planned: frozenset[str] | None = None
        self._own = Own()
        self._gateways: Sequence[GatewayState] = ()
        self._traffic: dict[str, Traffic] = {}
        self._new_nodes: set[str] = set()
        self._new_providers: set[str] = set()

    # --- what is known

    def gateways(self) -> Sequence[GatewayState]:
        """Every connected Envoy that has taken or refused something yet, by name."""
        return self._gateways

    def traffic(self) -> Mapping[str, Traffic]:
        """Provider name -> what traffic says; no answer and no outage is known of the others."""
        return MappingProxyType(self._traffic)

    def acknowledged(self, node: str) -> AbstractSet[str] | None:
        """The clusters that this node's Envoy has and keeps, wherever it is connected; None: nobody knows.

        A stream that is there counts more than one that was; an Envoy that has taken nothing yet is not known.
        """
        acked = self.xds.acknowledged(node)
        ours = acked.get(CLUSTER) if acked else None
        claims = [link.nodes[node].clusters for link in self._links if node in link.nodes]
        if self.xds.connected(node):
            if not ours:
                return None
            claims.append(ours)
        if claims:
            return in_common(claims).keys()
        return ours.keys() if ours else None

    @property
    def own(self) -> Own:
        """What is told to peers."""
        return self._own

    # --- what happens at our own servers

    def agreed(self, names: AbstractSet[str]) -> bool:
        """Whether no worker of another replica, beside an Envoy of ours, decides by one of these providers."""
        return all(names <= link.agreed for link in self._links)

    def changed(self) -> None:
        """Something may have to be told: another catalog, or what a worker decides by."""
        self._wake.set()

    def testified(self, providers: Collection[str]) -> None:
        """What our workers say of these providers is new."""
        self._new_providers.update(providers)
        self._wake.set()

    def _nacked(self, nack: Nack) -> None:
        self._new_nodes.add(nack.node)
        self._wake.set()
        self._on_nack(nack)

    def _acks_changed(self, node: str) -> None:
        self._new_nodes.add(node)
        self._wake.set()
        self.catalogs.acks_changed(node)

    # --- peers

    def join(self, link: Link, wake: Callable[[], None]) -> None:
        """A conversation with a peer begins; `wake()` runs whenever there may be something to tell or to answer."""
        self._links[link] = wake
        self._count_peers()
        wake()

    def leave(self, link: Link) -> None:
        """It is over: what this peer told is forgotten."""
        del self._links[link]
        self._count_peers()
        self._heard(link.nodes, link.traffic)
        self.catalogs.agreement_changed()

    def hear(self, link: Link, message: Told | Took) -> None:
        """The peer says something."""
        agreed = link.agreed
        self._heard(*link.heard(message))
        if link.agreed != agreed:
            self.catalogs.agreement_changed()

    def answer(self, link: Link) -> Took | None:
        """What the peer is to be answered now, if anything."""
        return link.answer(self.catalogs.deciding_by(link.asked, link.nodes) if link.asked else frozenset())

    def _heard(self, nodes: Iterable[str], providers: Iterable[str]) -> None:
        self._new_providers.update(providers)
        for node in nodes:
            self._new_nodes.add(node)
            self.catalogs.acks_changed(node)
        self._wake.set()

    def _count_peers(self) -> None:
        self._metrics.peers.set(len({link.instance for link in self._links}))

    # --- telling

    async def run(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> Never:
        """Tell peers and `on_change` what is new: at once, and then not again for a moment."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._take_stock():
                self._on_change()
            for wake in self._links.values():
                wake()
            await sleep(SETTLE_S)

    def _take_stock(self) -> bool:
        """Whether `gateways` or `traffic` says something new."""
        planned = self.catalogs.planned
        if planned != self._planned:
            self._new_providers |= (planned or frozenset()) ^ (self._planned or frozenset())
            self._new_nodes.update(self.xds.connected_nodes)
            self._planned = planned
        nodes, self._new_nodes = self._new_nodes, set()
        providers, self._new_providers = self._new_providers, set()
        served = self.xds.resources.by_type.get(CLUSTER, {}).keys()
        self._own = Own(
            _updated(self._own.nodes, {node: self._state(node) for node in nodes}),
            frozenset(served - planned) if planned is not None else frozenset(),
            _updated(self._own.traffic, {name: self._summary(name) for name in providers}),
        )
        before = self._gateways, dict(self._traffic)
        if nodes:
            told = (state for link in self._links for state in link.nodes.values())
            self._gateways = tuple(merged([*self._own.nodes.values(), *told]))
            self._metrics.gateways.set(len(self._gateways))
        # A pair may have two links, one in each direction; they tell the same.
        told_by = {link.instance: link.traffic for link in self._links}.values()
        for name in providers:
            everywhere = joined(told[name] for told in (self._own.traffic, *told_by) if name in told)
            result = verdict(everywhere)
            if result is None:
                self._traffic.pop(name, None)
            else:
                self._traffic[name] = result
        return before != (self._gateways, self._traffic)

    def _state(self, node: str) -> GatewayState | None:
        """None: it is not ours, or there is nothing to tell. Before the first plan nobody knows what it should have."""
        if self._planned is None or not self.xds.connected(node):
            return None
        acked = (self.xds.acknowledged(node) or {}).get(CLUSTER, {})
        refused = self.xds.refused(node)
        if not acked and not refused:
            return None
        words = {
            name: nack.message
            for name in (self._planned if refused else ())
            if (nack := refused.get((CLUSTER, name)) or refused.get((SECRET, secret_name(name))))
        }
        return GatewayState(node, {name: acked[name] for name in acked.keys() & self._planned}, words)

    def _summary(self, provider: str) -> Summary | None:
        if provider not in (self._planned or ()):
            return None
        evidence = self.catalogs.evidence(provider)
        return summary(evidence) if evidence else None


def _updated(before: Mapping[str, _Value], changes: Mapping[str, _Value | None]) -> Mapping[str, _Value]:
    """The same objects where nothing differs, so that whoever tells the difference finds it by identity."""
    after = dict(before)
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        elif after.get(name) != value:
            after[name] = value
    return after
