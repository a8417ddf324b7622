"""All Envoys and workers as this replica knows them: its own at first hand, the others from its peers.

Whatever concerns one Envoy is decided by the replica to which that Envoy is connected: there its acknowledgements come
in, there a provider is taken away from it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Never, TypeVar

from limpet_operator.fleet.acks import GatewayState, Traffic, merged
from limpet_operator.fleet.link import Link, Own
from limpet_operator.fleet.links import Links
from limpet_operator.fleet.peer_contract import Told, Took
from limpet_operator.fleet.traffic import Summary, joined, summary, verdict
from limpet_operator.publish.cluster import secret_name
from limpet_operator.publish.resource import CLUSTER, SECRET
from limpet_operator.serve.change_set import Changed
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.metrics import Metrics

_Value = TypeVar("_Value")

SETTLE_S: Final = 0.05
"""Changes this soon after another are reported with it: the acknowledgements of one push come one by one."""


def _ignore() -> None:
    """For a hook that is not used."""


class Fleet:
    """Implements `acks.FleetView`. All methods belong to the event loop that serves."""

    def __init__(
        self,
        control_plane: ControlPlane,
        links: Links,
        metrics: Metrics,
        on_change: Callable[[], None] = _ignore,
    ) -> None:
        """`links` are those that the control plane asks; `on_change()` runs when `gateways` or `traffic` changed."""
        self._control_plane = control_plane
        self._links = links
        self._metrics = metrics
        self._on_change = on_change
        self._planned: frozenset[str] | None = None
        self._own = Own()
        self._gateways: Sequence[GatewayState] = ()
        self._traffic: dict[str, Traffic] = {}

    def gateways(self) -> Sequence[GatewayState]:
        """Every connected Envoy that has taken or refused something yet, by name."""
        return self._gateways

    def traffic(self) -> Mapping[str, Traffic]:
        """Provider name -> what traffic shows; of the others neither an answer nor an outage is known."""
        return MappingProxyType(self._traffic)

    @property
    def own(self) -> Own:
        """What this replica reports to its peers."""
        return self._own

    # --- peers

    def join(self, link: Link, wake: Callable[[], None]) -> None:
        """A stream with a peer has been opened; `wake()` runs whenever there may be something to send on it."""
        self._links.add(link, wake)
        self._metrics.peers.set(self._links.peers)

    def leave(self, link: Link) -> None:
        """It has ended: what this peer reported is forgotten."""
        self._links.remove(link)
        self._metrics.peers.set(self._links.peers)
        self._peers_changed(link.nodes, link.traffic)
        self._control_plane.catalogs.agreement_changed()

    def hear(self, link: Link, message: Told | Took) -> None:
        """Take in a message of a peer."""
        agreed = link.agreed
        self._peers_changed(*link.heard(message))
        if link.agreed != agreed:
            self._control_plane.catalogs.agreement_changed()

    def answer(self, link: Link) -> Took | None:
        """The answer that is due to the peer now, if any."""
        catalogs = self._control_plane.catalogs
        return link.answer(catalogs.deciding_by(link.asked, link.nodes) if link.asked else frozenset())

    def _peers_changed(self, nodes: Iterable[str], providers: Iterable[str]) -> None:
        for node in nodes:
            self._control_plane.catalogs.acks_changed(node)
        self._control_plane.changes.add(gateways=nodes, providers=providers)

    # --- reporting

    async def run(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> Never:
        """Report changes to peers and `on_change`: at once, and then not again for a moment."""
        changes = self._control_plane.changes
        while True:
            await changes.wait()
            if self._update(changes.take()):
                self._on_change()
            self._links.wake()
            await sleep(SETTLE_S)

    def _update(self, changed: Changed) -> bool:
        """Whether `gateways` or `traffic` differ from before."""
        control_plane = self._control_plane
        planned = control_plane.catalogs.planned
        if planned != self._planned:
            changed.providers.update((planned or frozenset()) ^ (self._planned or frozenset()))
            changed.gateways.update(control_plane.acks.connected_nodes)
            self._planned = planned
        served = control_plane.xds.resources.by_type.get(CLUSTER, {}).keys()
        self._own = Own(
            _updated(self._own.nodes, {node: self._state(node) for node in changed.gateways}),
            frozenset(served - planned) if planned is not None else frozenset(),
            _updated(self._own.traffic, {name: self._summary(name) for name in changed.providers}),
        )
        before = self._gateways, dict(self._traffic)
        if changed.gateways:
            self._gateways = tuple(merged([*self._own.nodes.values(), *self._links.states()]))
            self._metrics.gateways.set(len(self._gateways))
        reports = (self._own.traffic, *self._links.traffic())
        for name in changed.providers:
            result = verdict(joined(report[name] for report in reports if name in report))
            if result is None:
                self._traffic.pop(name, None)
            else:
                self._traffic[name] = result
        return before != (self._gateways, self._traffic)

    def _state(self, node: str) -> GatewayState | None:
        """None: it is not ours, or there is nothing to report. Before the first plan it is open what it should have."""
        acks = self._control_plane.acks
        if self._planned is None or not acks.connected(node):
            return None
        acknowledged = (acks.acknowledged(node) or {}).get(CLUSTER, {})
        refused = acks.refused(node)
        if not acknowledged and not refused:
            return None
        words = {
            name: nack.message
            for name in (self._planned if refused else ())
            if (nack := refused.get((CLUSTER, name)) or refused.get((SECRET, secret_name(name))))
        }
        clusters = {name: acknowledged[name] for name in acknowledged.keys() & self._planned}
        return GatewayState(node, clusters, words)

    def _summary(self, provider: str) -> Summary | None:
        if provider not in (self._planned or ()):
            return None
        evidence = self._control_plane.catalogs.evidence(provider)
        return summary(evidence) if evidence else None


def _updated(before: Mapping[str, _Value], changes: Mapping[str, _Value | None]) -> Mapping[str, _Value]:
    """The same objects where nothing differs, so that differences can be found by identity."""
    after = dict(before)
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        elif after.get(name) != value:
            after[name] = value
    return after
