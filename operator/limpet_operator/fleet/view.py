"""What the whole installation has taken and how its traffic goes, in the words that status is written from. Pure.

Every replica serves some of the Envoys and workers, and hears of the others from its peers (`link`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from limpet_extproc.contract.catalog import OutBecause
from limpet_operator.serve.acknowledgements import in_common


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One connected Envoy: what it has, and what it refuses."""

    name: str
    clusters: Mapping[str, str]
    """Provider name -> version acknowledged. Only providers that are planned where this Envoy is connected: what is
    about to be taken away is not among them, though Envoy still has it."""
    rejected: Mapping[str, str]
    """Provider name -> Envoy's words; what it had before goes on serving."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the requests of all workers say of one provider."""

    verdict: Literal["up", "down"]
    reason: Literal["up"] | OutBecause
    since_s: float
    """Unix seconds; from when the workers that agree with the verdict began to agree with it, the first of them."""
    workers_up: int
    workers_down: int
    hit_percent: int | None = None
    """Share of the prompt tokens of late that were read from the cache; None: there were none."""
    warm_conversations: int = 0
    """About how many are in its cache."""
    cause: str = ""
    """What a person has to put right there, or why it is out: a word of `attempt.Cause`. Empty: nothing is known."""
    status: int = 0
    """What it answered then; 0: nothing."""
    says: str = ""
    """Its own words."""


class FleetView(Protocol):
    """All Envoys and workers of the installation, whichever replica they are connected to."""

    def gateways(self) -> Sequence[GatewayState]:
        """Every connected Envoy that has taken or refused something yet, by name."""

    def traffic(self) -> Mapping[str, Traffic]:
        """Provider name -> what traffic says; no answer and no outage is known of the others."""


def merged(states: Iterable[GatewayState]) -> list[GatewayState]:
    """One state for each Envoy, by name; claims of several replicas to the same one count as far as they agree."""
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
