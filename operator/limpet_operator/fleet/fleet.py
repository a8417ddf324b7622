"""All Envoys and workers as this replica knows them: its own at first hand, the others from its peers.

Whatever concerns one Envoy is decided by the replica to which that Envoy is connected: there its acknowledgements come
in, there a provider is taken away from it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Never, TypeVar

from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.link import OwnReport, PeerLink
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.fleet.peer_contract import PeerAck, PeerHealth, PeerUpdate
from limpet_operator.fleet.traffic import Summary, joined, summary, traffic_from
from limpet_operator.fleet.view import GatewayState, Traffic, merged
from limpet_operator.publish.resource import CLUSTER, SECRET
from limpet_operator.publish.secret import provider_of_secret
from limpet_operator.serve.change_set import Changed
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.metrics import ControlPlaneMetrics

_Value = TypeVar("_Value")

SETTLE_S: Final = 0.05
"""Changes this soon after another are reported with it: the acknowledgements of one push come one by one."""


def _ignore() -> None:
    """For a hook that is not used."""


class Fleet:
    """Implements `fleet.view.FleetView`. All methods belong to the event loop that serves."""

    def __init__(
        self,
        control_plane: ControlPlane,
        links: PeerLinks,
        health: HealthLinks,
        metrics: ControlPlaneMetrics,
        on_change: Callable[[], None] = _ignore,
    ) -> None:
        """`links` and `health` are those that the control plane asks.

        `on_change()` runs when `gateways` or `traffic` changed.
        """
        self._control_plane = control_plane
        self._links = links
        self._health = health
        self._metrics = metrics
        self._on_change = on_change
        self._planned: frozenset[str] | None = None
        self._own = OwnReport()
        self._gateways: Sequence[GatewayState] = ()
        self._traffic: dict[str, Traffic] = {}

    def gateways(self) -> Sequence[GatewayState]:
        """Every connected Envoy that has acknowledged or refused something, by name."""
        return self._gateways

    def traffic(self) -> Mapping[str, Traffic]:
        """Provider name -> what traffic shows; providers without any answer or outage are left out."""
        return MappingProxyType(self._traffic)

    @property
    def own(self) -> OwnReport:
        """What this replica reports to its peers."""
        return self._own

    # --- peers

    def join(self, link: PeerLink, wake: Callable[[], None]) -> None:
        """A stream with a peer has been opened; `wake()` runs whenever there may be something to send on it."""
        self._links.add(link, wake)
        self._metrics.peers.set(self._links.peers)
        self._health.joined(link, self._control_plane.health.exchange)

    def leave(self, link: PeerLink) -> None:
        """It has ended: what this peer reported is forgotten."""
        self._links.remove(link)
        self._health.left(link)
        self._metrics.peers.set(self._links.peers)
        self._peers_changed(link.gateways, link.traffic)
        self._control_plane.catalogs.agreement_changed()

    def receive(self, link: PeerLink, message: PeerUpdate | PeerAck | PeerHealth) -> None:
        """Take in a message of a peer."""
        if not isinstance(message, (PeerUpdate, PeerAck)):
            self._health.receive(link, message, self._control_plane.health.exchange)
            return
        agreed = link.agreed
        self._peers_changed(*link.receive(message))
        if link.agreed != agreed:
            self._control_plane.catalogs.agreement_changed()

    def ack_for(self, link: PeerLink) -> PeerAck | None:
        """The answer that is due to the peer now, if any."""
        catalogs = self._control_plane.catalogs
        return link.next_ack(catalogs.deciding_by(link.leaving, link.gateways) if link.leaving else frozenset())

    def _peers_changed(self, gateways: Iterable[str], providers: Iterable[str]) -> None:
        for gateway in gateways:
            self._control_plane.catalogs.acks_changed(gateway)
        self._control_plane.changes.add(gateways=gateways, providers=providers)

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
            changed.gateways.update(control_plane.acks.connected_gateways)
            self._planned = planned
        served = control_plane.xds.resources.by_type.get(CLUSTER, {}).keys()
        self._own = OwnReport(
            _updated(self._own.gateways, {gateway: self._state(gateway) for gateway in changed.gateways}),
            frozenset(served - planned) if planned is not None else frozenset(),
            _updated(self._own.traffic, {name: self._summary(name) for name in changed.providers}),
        )
        before = self._gateways, dict(self._traffic)
        if changed.gateways:
            self._gateways = tuple(merged([*self._own.gateways.values(), *self._links.states()]))
            self._metrics.gateways.set(len(self._gateways))
        reports = (self._own.traffic, *self._links.traffic())
        for name in changed.providers:
            result = traffic_from(joined(report[name] for report in reports if name in report))
            if result is None:
                self._traffic.pop(name, None)
            else:
                self._traffic[name] = result
        return before != (self._gateways, self._traffic)

    def _state(self, gateway: str) -> GatewayState | None:
        """None: it is not ours, or there is nothing to report, as before the first plan."""
        acks = self._control_plane.acks
        if self._planned is None or not acks.connected(gateway):
            return None
        acknowledged = (acks.acknowledged(gateway) or {}).get(CLUSTER, {})
        refused = acks.refused(gateway)
        if not acknowledged and not refused:
            return None
        words: dict[str, str] = {}
        for (type_url, name), nack in refused.items():
            provider = {CLUSTER: name, SECRET: provider_of_secret(name)}.get(type_url)
            if provider in self._planned and (type_url == CLUSTER or provider not in words):
                words[provider] = nack.message
        clusters = {name: acknowledged[name] for name in acknowledged.keys() & self._planned}
        return GatewayState(gateway, clusters, words)

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
