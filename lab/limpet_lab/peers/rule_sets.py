"""Peers' published rule sets: an order of all offers, from prices, outages and what is remembered. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from limpet_extproc.contract.reasons import DecisionReason
from limpet_extproc.memory import Memory, Remembered
from limpet_lab.peers.rank import Offer, balanced, spread
from limpet_lab.peers.stickiness import NoMemory, StickyAfterHit

RuleSetName = Literal["no_memory", "openrouter"]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule set may look at."""

    offers: tuple[Offer, ...]
    remembered: Remembered | None
    failed_s: Mapping[str, float]
    """When each provider last failed, if it ever did."""
    now_s: float
    random_seed: bytes


class RuleSet(Protocol):
    """An order of all offers, and why in the closed list of reasons."""

    def __call__(self, now: Situation) -> tuple[tuple[str, ...], DecisionReason]:
        """Pure."""


def no_memory(now: Situation) -> tuple[tuple[str, ...], DecisionReason]:
    """Each request on its own: drawn with the inverse square of the price, nothing remembered."""
    return spread(now.offers, now.random_seed), "off.spread"


def openrouter(now: Situation) -> tuple[tuple[str, ...], DecisionReason]:
    """The sticky provider first if there is one, then the documented default strategy."""
    order = balanced(now.offers, now.failed_s, now.now_s, now.random_seed)
    sticky = now.remembered.warm[0].provider if now.remembered and now.remembered.warm else None
    if sticky is None or sticky not in order:
        return order, "first.scored"
    return (sticky, *(name for name in order if name != sticky)), "sticky.hit"


RULE_SETS: Final[Mapping[RuleSetName, tuple[RuleSet, Callable[[], Memory]]]] = {
    "no_memory": (no_memory, NoMemory),
    "openrouter": (openrouter, StickyAfterHit),
}
