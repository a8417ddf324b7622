"""Peers' rule sets in the place of Limpet's own: the same reading, the same edits of the body, another order.

A request is decided as always under a policy without stickiness that lists every provider; then the rule set puts these
in its own order. So what is compared is the choice alone. What a client demands by `provider` is obeyed as Limpet obeys
it, and such a request is neither sticky nor remembered: OpenRouter's documents have the same rule for `provider.order`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import Policy
from limpet_extproc.contract.reasons import DecisionReason
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Candidate, Lane, Snapshot
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory import Memory
from limpet_extproc.providers.events import AttemptFailed, AttemptLimited, ProviderEvent
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.opened import open_request
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.reading import ReadRequest
from limpet_extproc.request.routing import Routing, decide
from limpet_lab.peers.rank import Offer
from limpet_lab.peers.rule_sets import RuleSet, Situation
from limpet_lab.peers.stickiness import IDLE_S

ATTEMPTS: Final = 3
"""Providers a request may try: as many as Limpet's default policy allows."""

_NAMED: Final = frozenset({"x-session-id", "session_id", "prompt_cache_key"})
"""Conversations recognised by one of these were named by the client itself."""

_UNKNOWN_PRICE: Final = 1.0


class Outages(ProviderTracker):
    """When each provider failed last; none is ever taken out, the rule set looks at the clock itself."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock, lambda _change: None)
        self._now = clock
        self.failed_s: dict[str, float] = {}

    def apply(self, event: ProviderEvent) -> None:
        """A 429 is an outage like another."""
        if isinstance(event, AttemptFailed | AttemptLimited):
            self.failed_s[event.provider] = self._now()
        else:
            super().apply(event)


class PeerRouting:
    """A rule set as the `Router` of an ext_proc worker."""

    def __init__(
        self,
        rules: RuleSet,
        read: ReadRequest,
        snapshot: Callable[[], Snapshot],
        memory: Memory,
        outages: Outages,
        secret: bytes,
        clock: Callable[[], float],
        random_seed: Callable[[], bytes],
    ) -> None:
        self._rules = rules
        self._read = read
        self._snapshot = snapshot
        self._memory = memory
        self._outages = outages
        self._secret = secret
        self._clock = clock
        self._random_seed = random_seed

    async def route(self, head: RequestHead, body: bytes | memoryview) -> Routing | Refusal:
        """See `Router`."""
        request = await self._read(head, body)
        if isinstance(request, Refusal):
            return request
        opened = open_request(head, request, body, all_listed(self._snapshot()), self._secret)
        if isinstance(opened, Refusal):
            return opened
        now_s, random_seed = self._clock(), self._random_seed()
        listed = decide(opened, None, ProviderStates(), now_s, random_seed)
        if isinstance(listed, Refusal) or listed.decision.reason != "off.spread":
            return listed
        lane, key = opened.query.lane, opened.query.key
        offers = tuple(_offer(lane.by_provider[name]) for name in listed.decision.order)
        remembered = await self._memory.lookup(key, now_s)
        order, reason = self._rules(Situation(offers, remembered, self._outages.failed_s, now_s, random_seed))
        if opened.identified_by in _NAMED:
            self._memory.expect(key, order[0], now_s)
        return in_order(listed, order[:ATTEMPTS], reason, lane)


def all_listed(snapshot: Snapshot) -> Snapshot:
    """The same catalog under a policy that neither remembers nor leaves any provider out."""
    lanes = {
        key: replace(lane, policy=Policy(mode="Off", max_attempts=len(lane.candidates)))
        for key, lane in snapshot.lanes.items()
    }
    return replace(snapshot, lanes=lanes)


def in_order(listed: Routing, order: tuple[str, ...], reason: DecisionReason, lane: Lane) -> Routing:
    """The routing with this order, and a record from which its outcome can be learned."""
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
