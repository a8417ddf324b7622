"""One replica's side of a conversation with another: what was told, what was heard, what was agreed. Knows no gRPC.

The agreement is about taking a provider away from Envoys while the workers beside them listen to another replica:
docs/decisions/0009 says why. The teller says "leaving" in the same breath as it stops telling that its Envoys have the
provider; the other side answers when none of its workers there decides by it any more. Only an answer to the newest
message counts, so nothing that was said before a provider came back can be mistaken for consent.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from limpet_operator.fleet.acks import GatewayState
from limpet_operator.fleet.peer_contract import NodeChange, Told, Took, applied, difference
from limpet_operator.fleet.traffic import Summary


@dataclass(frozen=True, slots=True)
class Own:
    """What a replica has to tell of the Envoys and workers that are connected to itself."""

    nodes: Mapping[str, GatewayState] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    traffic: Mapping[str, Summary] = field(default_factory=dict)


class News(NamedTuple):
    """Names of the nodes and providers of which something new was heard."""

    nodes: AbstractSet[str]
    providers: AbstractSet[str]


class Link:
    """A conversation that lasts as long as its stream."""

    def __init__(self, instance: str) -> None:
        """`instance` is the other side."""
        self.instance = instance
        self.nodes: dict[str, GatewayState] = {}
        self.traffic: dict[str, Summary] = {}
        self.asked: frozenset[str] = frozenset()
        """What the other side is about to take away from its Envoys."""
        self.agreed: frozenset[str] = frozenset()
        """What we may take away from ours as far as the other side's workers are concerned."""
        self._told = Own()
        self._told_seq = 0
        self._heard_seq = 0
        self._answered = Took(0)

    def tell(self, own: Own) -> Told | None:
        """The next message about ourselves; None: there is nothing new."""
        before, first = self._told, self._told_seq == 0
        nodes = [
            difference(before.nodes.get(name), state)
            for name, state in own.nodes.items()
            if before.nodes.get(name) is not state
        ]
        changed = tuple(each for each in nodes if each.node not in before.nodes or each != NodeChange(each.node))
        gone = tuple(before.nodes.keys() - own.nodes.keys())
        traffic = {name: each for name, each in own.traffic.items() if before.traffic.get(name) != each}
        quiet = tuple(before.traffic.keys() - own.traffic.keys())
        self._told = own
        if not (first or changed or gone or traffic or quiet or own.leaving != before.leaving):
            return None
        self._told_seq += 1
        self.agreed &= own.leaving
        return Told(self._told_seq, changed, gone, tuple(sorted(own.leaving)), traffic, quiet)

    def heard(self, message: Told | Took) -> News:
        """Take in what the other side says."""
        if isinstance(message, Took):
            if message.seq == self._told_seq:
                self.agreed = self._told.leaving - frozenset(message.still)
            return News(frozenset(), frozenset())
        self._heard_seq = message.seq
        for name in message.gone:
            self.nodes.pop(name, None)
        for change in message.nodes:
            self.nodes[change.node] = applied(self.nodes.get(change.node), change)
        for name in message.quiet:
            self.traffic.pop(name, None)
        self.traffic.update(message.traffic)
        self.asked = frozenset(message.leaving)
        return News(
            {change.node for change in message.nodes} | set(message.gone), message.traffic.keys() | message.quiet
        )

    def answer(self, deciding_by: AbstractSet[str]) -> Took | None:
        """The answer that is due; `deciding_by` is what our workers beside the other side's Envoys may decide by."""
        answer = Took(self._heard_seq, tuple(sorted(self.asked & deciding_by)))
        if answer == self._answered:
            return None
        self._answered = answer
        return answer
