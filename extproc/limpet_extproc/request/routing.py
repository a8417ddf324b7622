"""Where an opened request goes, with all that Envoy and the request's log entry will need."""

from itertools import islice
from math import ceil
from typing import Final

import msgspec

from limpet_extproc.contract.envoy import TRACE_HEADER, TRIES
from limpet_extproc.contract.reasons import DecisionReason, Exclusion
from limpet_extproc.contract.record import CacheEvidence, Record, TurnsBefore
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.draws import NO_DRAWS, Draws
from limpet_extproc.decision.evidence import evidence_of
from limpet_extproc.decision.outlook import UNKNOWN_PACE, output_tokens
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import cache_ttl_s, why_not_sticky
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory import ConversationPace, Remembered
from limpet_extproc.memory.heads import NO_HEADS, Heads
from limpet_extproc.request import identity
from limpet_extproc.request.cache_keys import affinity, settings_with_keys
from limpet_extproc.request.edits import Edits, edits
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.refusals import nobody_left, pin_ruled_out
from limpet_extproc.request.shown_costs import ShownCost, shown_costs


class Tries(msgspec.Struct, frozen=True, gc=False):
    """How each provider of the order is tried."""

    each: int = 1
    """How often, if it ends the connection without an answer."""
    stream: bool = False
    wait_level: int = 0
    """For a streamed answer: the level of Envoy's routes that waits for the most patient provider of the order."""
    wait_s: float | None = None
    """How long the first one may take for a whole answer, where its timeout is followed by the next; None: no need."""
    save_cache_s: float = 0.0
    """How long the first may be waited for and tried once more, as the conversation is warm there; 0: not at all."""


class Routing(msgspec.Struct, frozen=True, gc=False):
    """Where the request goes, and what its log entry will need."""

    decision: Decision
    record: Record
    edits: Edits | None
    why: str
    """For the client, should all fail; empty while nothing is known to be wrong."""
    tries: Tries = Tries()
    last_read: str = ""
    """Why the conversation's last turn read from a cache what it read; empty: unknown, or not to be shown."""
    costs: tuple[ShownCost, ...] = ()
    """What the client is told of the cost of its answer; empty: nothing."""
    tells_early: bool = False
    """Whether others may wait until its answer begins."""
    affinities: tuple[tuple[str, str], ...] = ()
    """Each provider of the order that takes the conversation's name in a header, and the name that it gets."""
    explanation: str = ""
    """Why, as JSON, for a client that asked for it and may; else empty."""


def decide(
    opened: Opened,
    remembered: Remembered | None,
    states: ProviderStates,
    now_s: float,
    random_seed: bytes,
    before: int = 0,
    model_before: str = "",
    heads: Heads = NO_HEADS,
    draws: Draws = NO_DRAWS,
) -> Routing | Refusal:
    """The order of providers and all that goes with it.

    `random_seed`, `heads` and `draws`: see `choose`, `before`: see `edits`, `model_before`: see `evidence_of`.
    """
    query, lane = opened.query, opened.query.lane
    if lane.tiered:
        query = counted(query, states)
        opened = msgspec.structs.replace(opened, query=query)
    if before and not (opened.request.cache and opened.request.cache.has_key):
        settings = settings_with_keys(query.settings, lane.candidates, before)
        if settings != query.settings:
            query = msgspec.structs.replace(query, settings=settings)
            opened = msgspec.structs.replace(opened, query=query)
    decision = choose(query, remembered, states, now_s, random_seed, heads, draws)
    order = decision.order
    if not order and query.pinned:
        return pin_ruled_out(query.pinned)
    if not order:
        return nobody_left(query)
    record = _record(opened, decision, remembered, model_before, now_s)
    return Routing(
        decision=decision,
        record=record,
        edits=edits(opened, order, before),
        why=_why(decision, states, lane, now_s) if not states.all_well else "",
        tries=_tries(decision, lane, opened.request.stream),
        last_read=_last_read(lane, remembered),
        costs=_costs(opened, record, remembered) if "Cost" in lane.policy.shown_headers else (),
        tells_early=lane.policy.hold_first_s > 0 and _brings_heads(opened, remembered),
        affinities=_affinities(opened, order) if lane.takes_affinity else (),
    )


def counted(query: Query, states: ProviderStates) -> Query:
    """The same with the length of its prompt as the model's have been counted, where that decides its price."""
    rate = states.token_rates.get(query.lane.model) if query.lane.tiered else None
    return query if rate is None else msgspec.structs.replace(query, counted_tokens=int(query.prompt_tokens * rate))


_FOR_HEALTH: Final[frozenset[Exclusion]] = frozenset({"degraded", "over_limit", "down"})
_WARM_FIRST: Final[frozenset[DecisionReason]] = frozenset({"sticky.hit", "sticky.returned", "sticky.within"})
"""Reasons whose first provider has the conversation in its cache."""

_NEW: Final[frozenset[DecisionReason]] = frozenset({"first.scored", "first.warm_head"})
"""Those of a conversation of which nothing is remembered."""


def _brings_heads(opened: Opened, remembered: Remembered | None) -> bool:
    """Whether it is a first turn with a beginning that others may have too."""
    return bool(opened.query.chain.heads) and not (remembered is not None and remembered.warm)


def _why(decision: Decision, states: ProviderStates, lane: Lane, now_s: float) -> str:
    """What is wrong with the providers that are tried, and with those that are not tried because of it."""
    passed_over = (name for name, word in decision.excluded.items() if word in _FOR_HEALTH)
    return states.problems(dict.fromkeys((*decision.order, *passed_over)), lane.model, now_s)


def _tries(decision: Decision, lane: Lane, stream: bool) -> Tries:
    first = lane.by_provider[decision.order[0]]
    wait_level = 0
    if stream:
        for name in decision.order:
            wait_level = max(wait_level, lane.by_provider[name].wait_level)
    policy = lane.policy
    saves_cache = policy.failover == "SaveCache" and decision.reason in _WARM_FIRST
    save_cache_s = policy.save_cache_within_s if saves_cache else 0.0
    if policy.on_timeout == "NextProvider":
        # Envoy goes on at once after a timeout as after a connection that ended; which it was is known too late.
        return Tries(1, stream, wait_level, None if stream else first.unstreamed_s, save_cache_s)
    return Tries(TRIES, stream, wait_level, None, save_cache_s)


def _last_read(lane: Lane, remembered: Remembered | None) -> str:
    return "" if remembered is None or "Cache" not in lane.policy.shown_headers else remembered.cause


def _costs(opened: Opened, record: Record, remembered: Remembered | None) -> tuple[ShownCost, ...]:
    pace = UNKNOWN_PACE if remembered is None else remembered.pace
    return shown_costs(opened, record, output_tokens(opened.query, pace))


def _affinities(opened: Opened, order: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    query = opened.query
    candidates = query.lane.by_provider
    takes = [name for name in order if candidates[name].takes_affinity] if query.stays else []
    return tuple([(name, affinity(query.key, name)) for name in takes])


def _record(
    opened: Opened, decision: Decision, remembered: Remembered | None, model_before: str, now_s: float
) -> Record:
    query, policy = opened.query, opened.query.lane.policy
    learns = _learns(opened)
    return Record(
        key=query.key,
        model=query.lane.model,
        identified_by=opened.identified_by,
        unrecognised=_unrecognised(opened, decision),
        reason=decision.reason,
        enforce_reason=decision.enforce_reason,
        order=decision.order,
        ttls_s=_ttls_s(opened, decision.order),
        started_s=now_s,
        prompt_tokens=query.prompt_tokens,
        service_tier=query.service_tier,
        output_tokens=query.output_tokens,
        max_providers=policy.max_providers,
        learn=learns,
        tries=1 if policy.on_timeout == "NextProvider" else TRIES,
        streamed=opened.request.stream,
        api=opened.head.api.name,
        kind=opened.head.api.kind,
        owner=opened.owner,
        tenant=opened.tenant,
        policy=policy.name,
        client=opened.head.client.name if opened.head.client is not None else "",
        chain=query.chain.hashes,
        settings=query.settings,
        heads=query.chain.head_hashes() if query.chain.heads else b"",
        cache=evidence_of(query, decision.order, remembered, decision.warmth, now_s, model_before)
        if learns
        else _NO_EVIDENCE,
        excluded=dict(islice(decision.excluded.items(), _MAX_EXCLUDED)) if decision.excluded else {},
        before=_FIRST_TURN if remembered is None else turns_before(remembered.pace, now_s),
        traceparent=opened.head.headers.get(TRACE_HEADER, ""),
        enforce_provider=decision.enforce_provider,
    )


_FIRST_TURN: Final = TurnsBefore()


def turns_before(pace: ConversationPace, now_s: float) -> TurnsBefore:
    """How a conversation has gone on before a request that comes now."""
    if not pace.turns:
        return _FIRST_TURN
    last_gap_s = max(0, ceil(now_s - pace.last_s))
    return TurnsBefore(pace.turns, last_gap_s, ceil(pace.gap_s), round(pace.growth_tokens), pace.head_tokens)


_NO_EVIDENCE: Final = CacheEvidence()
_MAX_EXCLUDED: Final = 16


def _learns(opened: Opened) -> bool:
    """Whether the outcome may be remembered."""
    policy, steering = opened.query.lane.policy, opened.query.steering
    steered = steering is not None and steering.chooses() and not steering.sorts_by_price()
    turn = opened.head.api.kind == "conversation"
    return turn and policy.mode != "Off" and (not steered or policy.client_order == "StickyWithin")


def _unrecognised(opened: Opened, decision: Decision) -> bool:
    """Whether a conversation with earlier turns was not recognised, as with a clock in the system prompt."""
    new = decision.reason in _NEW or decision.enforce_reason in _NEW
    return new and opened.request.has_history and opened.identified_by == identity.FINGERPRINT


def _ttls_s(opened: Opened, order: tuple[str, ...]) -> tuple[float, ...]:
    query = opened.query
    lane = query.lane
    if lane.stays and query.marks_ttl_s is None and query.retention_ttl_s is None and not lane.policy.memory_ttl_s:
        tokens = query.prompt_tokens
        return tuple([ttl_s if tokens >= least else 0.0 for least, ttl_s in map(lane.stays.__getitem__, order)])
    candidates = [lane.by_provider[name] for name in order]
    return tuple([0.0 if why_not_sticky(each, query) else cache_ttl_s(each, query) for each in candidates])
