"""All open links of this replica, and what its peers report over them together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from limpet_operator.fleet.link import PeerLink
from limpet_operator.fleet.traffic import Summary
from limpet_operator.fleet.view import GatewayState


class PeerLinks:
    """Implements `serve.acknowledgements.PeerReports`. A pair of replicas may have two links, one in each direction."""

    def __init__(self) -> None:
        self._wakes: dict[PeerLink, Callable[[], None]] = {}

    def add(self, link: PeerLink, wake: Callable[[], None]) -> None:
        """A stream has been opened; `wake()` has it look for something to send."""
        self._wakes[link] = wake
        wake()

    def remove(self, link: PeerLink) -> None:
        """Its stream has ended: what the peer reported there is forgotten."""
        del self._wakes[link]

    def wake(self) -> None:
        """Have every stream look for something to send."""
        for wake in self._wakes.values():
            wake()

    def wake_one(self, link: PeerLink) -> None:
        """Have its stream look for something to send, if it is still open."""
        if (wake := self._wakes.get(link)) is not None:
            wake()

    def one_to_each(self) -> list[PeerLink]:
        """A link to each peer: the one that has been open for longest."""
        first: dict[str, PeerLink] = {}
        for link in self._wakes:
            first.setdefault(link.instance, link)
        return list(first.values())

    @property
    def peers(self) -> int:
        """How many replicas we are connected with."""
        return len({link.instance for link in self._wakes})

    def claims(self, gateway: str) -> Sequence[Mapping[str, str]]:
        """From each replica to which this Envoy is connected: its clusters, name -> version."""
        return [link.gateways[gateway].clusters for link in self._wakes if gateway in link.gateways]

    def agreed(self, names: AbstractSet[str]) -> bool:
        """Whether no worker of another replica, beside an Envoy of this one, decides by one of these providers."""
        return all(names <= link.agreed for link in self._wakes)

    def states(self) -> Iterator[GatewayState]:
        """Every claim of a peer to an Envoy."""
        return (state for link in self._wakes for state in link.gateways.values())

    def traffic(self) -> list[Mapping[str, Summary]]:
        """Provider name -> what its workers report, from each peer once: both links of a pair carry the same."""
        return list({link.instance: link.traffic for link in self._wakes}.values())
