"""Peers' rule sets in the place of our own: the same parser, the same edits of the body, another order of providers.

A request is read by our `Exchange` under a policy without stickiness that lists every provider; then the rule set puts
them in its own order. So what is compared is the choice alone. What a client demands by `provider` is obeyed as ours
obeys it, and such a request is neither sticky nor remembered: OpenRouter's documents say the same of `provider.order`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import msgspec

from limpet_extproc.contract.catalog import Policy
from limpet_extproc.contract.reasons import DecisionReason
from limpet_extproc.decision.choose import Known
from limpet_extproc.decision.snapshot import Candidate, Lane, Snapshot
from limpet_extproc.memory import Memory, Remembered
from limpet_extproc.providers.events import Failed, Limited, ProviderEvent
from limpet_extproc.providers.tracker import Providers
from limpet_extproc.request.exchange import Exchange, Head, Refusal, Routing, read
from limpet_lab.peers.rank import Offer, balanced, spread
from limpet_lab.peers.stickiness import IDLE_S, NoMemory, StickyAfterHit

RuleSetName = Literal["no_memory", "openrouter"]

ATTEMPTS: Final = 3
"""Providers a request may try: as many as our own default policy allows."""

_NAMED: Final = frozenset({"x-session-id", "session_id", "prompt_cache_key"})
"""Signs of a conversation that the client has named itself."""

_UNKNOWN_PRICE: Final = 1.0


class Outages(Providers):
    """When each provider failed last; nothing is ever taken out, the rule set looks at the clock itself."""

    def __init__(self) -> None:
        super().__init__(lambda _provider, _state: None)
        self.failed_s: dict[str, float] = {}

    def apply(self, event: ProviderEvent) -> None:
        """A 429 is an outage like another."""
        if isinstance(event, Failed | Limited):
            self.failed_s[event.provider] = event.now_s
        else:
            super().apply(event)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule set may look at."""

    offers: tuple[Offer, ...]
    remembered: Remembered | None
    failed_s: Mapping[str, float]
    now_s: float
    coin: bytes


class RuleSet(Protocol):
    """An order of all offers, and why in the closed list of reasons."""

    def __call__(self, now: Situation) -> tuple[tuple[str, ...], DecisionReason]:
        """Pure."""


def no_memory(now: Situation) -> tuple[tuple[str, ...], DecisionReason]:
    """Every request by itself: drawn with the inverse square of the price, nothing remembered of anybody."""
    return spread(now.offers, now.coin), "off.spread"


def openrouter(now: Situation) -> tuple[tuple[str, ...], DecisionReason]:
    """The sticky provider first if there is one, then the documented default strategy."""
    order = balanced(now.offers, now.failed_s, now.now_s, now.coin)
    sticky = now.remembered.warm[0].provider if now.remembered and now.remembered.warm else None
    if sticky is None or sticky not in order:
        return order, "first.scored"
    return (sticky, *(name for name in order if name != sticky)), "sticky.hit"


RULE_SETS: Final[Mapping[RuleSetName, tuple[RuleSet, Callable[[], Memory]]]] = {
    "no_memory": (no_memory, NoMemory),
    "openrouter": (openrouter, StickyAfterHit),
}


class Peer:
    """A rule set as the `Decides` of an ext_proc worker."""

    def __init__(
        self,
        rules: RuleSet,
        snapshot: Callable[[], Snapshot],
        memory: Memory,
        outages: Outages,
        secret: bytes,
        clock: Callable[[], float],
        coin: Callable[[], bytes],
    ) -> None:
        self._rules = rules
        self._snapshot = snapshot
        self._memory = memory
        self._outages = outages
        self._secret = secret
        self._clock = clock
        self._coin = coin

    async def decide(self, head: Head, body: bytes | memoryview) -> Routing | Refusal:
        """See `Decides`."""
        known = everybody_listed(self._snapshot())
        request = read(head, bytes(body))
        if isinstance(request, Refusal):
            return request
        exchange = Exchange(head, request, len(body), known, self._secret)
        if exchange.refusal is not None:
            return exchange.refusal
        now_s, coin = self._clock(), self._coin()
        listed = exchange.decide(None, Known(), now_s, coin)
        if isinstance(listed, Refusal) or listed.decision.reason != "off.spread":
            return listed
        lane = known.lanes["OpenAIChat", listed.record.model]
        offers = tuple(_offer(lane.by_provider[name]) for name in listed.decision.order)
        remembered = await self._memory.lookup(exchange.key, now_s)
        order, reason = self._rules(Situation(offers, remembered, self._outages.failed_s, now_s, coin))
        if listed.record.sign in _NAMED:
            self._memory.expect(exchange.key, order[0], now_s)
        return in_order(listed, order[:ATTEMPTS], reason, lane)


def everybody_listed(known: Snapshot) -> Snapshot:
    """The same world under a policy that neither remembers nor leaves anybody out."""
    lanes = {
        key: replace(lane, policy=Policy(mode="Off", max_attempts=len(lane.candidates)))
        for key, lane in known.lanes.items()
    }
    return replace(known, lanes=lanes)


def in_order(listed: Routing, order: tuple[str, ...], reason: DecisionReason, lane: Lane) -> Routing:
    """The routing with this order, and a record from which its outcome can be learnt."""
    record = msgspec.structs.replace(
        listed.record,
        reason=reason,
        order=order,
        ttls_s=tuple(IDLE_S if _cheaper_read(lane.by_provider[name]) else 0.0 for name in order),
        learn=True,
    )
    decision = msgspec.structs.replace(listed.decision, order=order, reason=reason)
    return msgspec.structs.replace(listed, decision=decision, record=record)


def _cheaper_read(candidate: Candidate) -> bool:
    """Stickiness is documented to act only where reading from the cache is cheaper than the prompt."""
    return candidate.price is not None and candidate.price.cache_read < candidate.price.input


def _offer(candidate: Candidate) -> Offer:
    return Offer(candidate.provider, candidate.price.input if candidate.price else _UNKNOWN_PRICE)
