"""What all Envoys acknowledged and what all requests show, in the words that status is written from. Pure.

Every replica serves some of the Envoys and workers, and its peers report the others (`link`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from limpet_extproc.contract.catalog import Trouble
from limpet_operator.serve.acknowledgements import in_common


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One connected Envoy: what it has, and what it refuses."""

    name: str
    clusters: Mapping[str, str]
    """Provider name -> acknowledged version. Only providers that are planned where this Envoy is connected: those
    about to be taken away are not included, though Envoy still has them."""
    rejected: Mapping[str, str]
    """Provider name -> Envoy's words; what it had before stays in use."""


@dataclass(frozen=True, slots=True)
class TrafficState:
    """How a provider, or one model there, is doing by the requests of all workers."""

    trouble: Trouble | None = None
    since_s: float = 0.0
    """Unix seconds; when the first of the workers that see it in this state began to do so."""
    cause: str = ""
    """What a person has to put right there, or why it is in trouble: a word of `attempt.Cause`. Empty: unknown."""
    status: int = 0
    """Its HTTP status then; 0: none."""
    message: str = ""
    """The provider's own."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the requests of all workers show about one provider."""

    whole: TrafficState | None = None
    """What concerns all its models; None: only single models are known of."""
    models: Mapping[str, TrafficState] = field(default_factory=dict)
    """Those that were asked for lately, each for itself."""
    hit_percent: int | None = None
    """Share of recent prompt tokens that were read from the cache; None: there were no tokens."""
    warm_conversations: int = 0
    """About how many conversations are in its cache."""
    times_out: bool = False
    """Whether its timeouts have lately ended several attempts."""


class FleetView(Protocol):
    """All Envoys and workers, whichever replica they are connected to."""

    def gateways(self) -> Sequence[GatewayState]:
        """Every connected Envoy that has acknowledged or refused something, by name."""

    def traffic(self) -> Mapping[str, Traffic]:
        """Provider name -> what traffic shows; providers without any answer or outage are left out."""


def merged(states: Iterable[GatewayState]) -> list[GatewayState]:
    """One state for each Envoy, by name: what the claims of several replicas to the same one have in common."""
    by_name: dict[str, list[GatewayState]] = {}
    for state in states:
        by_name.setdefault(state.name, []).append(state)
    return [
        claims[0]
        if len(claims) == 1
        else GatewayState(
            name,
            in_common(claim.clusters for claim in claims),
            {provider: words for claim in claims for provider, words in claim.rejected.items()},
        )
        for name, claims in sorted(by_name.items())
    ]
