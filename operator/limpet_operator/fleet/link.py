"""One replica's side of a stream with another: what was sent, what was received, what was agreed. Knows no gRPC.

The agreement is about taking a provider away from Envoys while the workers beside them listen to another replica:
docs/decisions/0009 says why. The sender says "leaving" in the same message in which it stops reporting that its Envoys
have the provider; the receiver acknowledges when none of its workers there decides by it any more. Only an ack of the
newest update counts, so nothing that was sent before a provider came back can be mistaken for consent.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from limpet_operator.fleet.peer_contract import GatewayChange, PeerAck, PeerHealth, PeerUpdate, applied, difference
from limpet_operator.fleet.traffic import Summary
from limpet_operator.fleet.view import GatewayState
from limpet_operator.serve.change_set import Changed
from limpet_operator.serve.outbox import Outbox


@dataclass(frozen=True, slots=True)
class OwnReport:
    """What a replica reports of the Envoys and workers that are connected to itself."""

    gateways: Mapping[str, GatewayState] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    traffic: Mapping[str, Summary] = field(default_factory=dict)


class PeerLink:
    """Lasts as long as its stream."""

    def __init__(self, instance: str) -> None:
        """`instance` is the other side."""
        self.instance = instance
        self.gateways: dict[str, GatewayState] = {}
        self.traffic: dict[str, Summary] = {}
        self.leaving: frozenset[str] = frozenset()
        """What the other side is about to take away from its Envoys."""
        self.agreed: frozenset[str] = frozenset()
        """What may be taken away from our Envoys: no worker of the other side decides by it."""
        self.health = Outbox[PeerHealth]()
        """What else is to be sent, apart from updates and their acknowledgements."""
        self.last_asked = 0
        """The number of the last probe that went to it; 0: none yet."""
        self._sent = OwnReport()
        self._sent_seq = 0
        self._received_seq = 0
        self._acked = PeerAck(0)

    def next_update(self, own: OwnReport) -> PeerUpdate | None:
        """The next message about ourselves; None: nothing has changed."""
        before, first = self._sent, self._sent_seq == 0
        differing = [
            difference(before.gateways.get(name), state)
            for name, state in own.gateways.items()
            if before.gateways.get(name) is not state
        ]
        changed = tuple(
            each for each in differing if each.name not in before.gateways or each != GatewayChange(each.name)
        )
        disconnected = tuple(before.gateways.keys() - own.gateways.keys())
        traffic = {name: each for name, each in own.traffic.items() if before.traffic.get(name) != each}
        without_traffic = tuple(before.traffic.keys() - own.traffic.keys())
        self._sent = own
        leaving = own.leaving != before.leaving
        if not (first or changed or disconnected or traffic or without_traffic or leaving):
            return None
        self._sent_seq += 1
        self.agreed &= own.leaving
        return PeerUpdate(self._sent_seq, changed, disconnected, tuple(sorted(own.leaving)), traffic, without_traffic)

    def receive(self, message: PeerUpdate | PeerAck) -> Changed:
        """Take in a message of the other side; returns of what it reports something new."""
        if isinstance(message, PeerAck):
            if message.seq == self._sent_seq:
                self.agreed = self._sent.leaving - frozenset(message.still_in_use)
            return Changed(set(), set())
        self._received_seq = message.seq
        for name in message.disconnected:
            self.gateways.pop(name, None)
        for change in message.gateways:
            self.gateways[change.name] = applied(self.gateways.get(change.name), change)
        for name in message.without_traffic:
            self.traffic.pop(name, None)
        self.traffic.update(message.traffic)
        self.leaving = frozenset(message.leaving)
        return Changed(
            {change.name for change in message.gateways}.union(message.disconnected),
            message.traffic.keys() | message.without_traffic,
        )

    def next_ack(self, deciding_by: AbstractSet[str]) -> PeerAck | None:
        """The ack that is due; `deciding_by` is what our workers beside the other side's Envoys may decide by."""
        ack = PeerAck(self._received_seq, tuple(sorted(self.leaving & deciding_by)))
        if ack == self._acked:
            return None
        self._acked = ack
        return ack
