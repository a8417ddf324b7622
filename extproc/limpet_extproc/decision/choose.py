"""The decision: one pure function from a request, what is remembered and provider states to an order of providers.

Candidates are filtered, scored and picked; where a conversation is warm comes before all scores.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.reasons import DecisionReason, Exclusion
from limpet_extproc.decision.draws import NO_DRAWS, Draws
from limpet_extproc.decision.filter import Filtered, by_demands, by_failure, by_health, without_better
from limpet_extproc.decision.head_moving import may_move_heads, with_moved_heads
from limpet_extproc.decision.outlook import UNKNOWN_PACE, as_remembered, outlook_of
from limpet_extproc.decision.pick import best_first, held_back, in_order, near_limit, spread
from limpet_extproc.decision.pool import Pool
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.ranking import first_drawn, first_ranked
from limpet_extproc.decision.request_price import allowed_by_demands, why_not_sticky
from limpet_extproc.decision.room import by_room
from limpet_extproc.decision.score import by_sort, expected_usd, weighted
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.spread_seed import spread_seed
from limpet_extproc.decision.steering import Allowed, Steering
from limpet_extproc.decision.sticky import warm_first
from limpet_extproc.decision.totals import totals_usd
from limpet_extproc.decision.warmth import NO_WARMTH, Warmth, warmth_of
from limpet_extproc.decision.worth import Outlook
from limpet_extproc.memory import Remembered
from limpet_extproc.memory.heads import NO_HEADS, Heads


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Providers in the order they are tried, no more than the policy allows; empty only if the client allows none."""

    order: tuple[str, ...]
    reason: DecisionReason
    enforce_reason: DecisionReason | None = None
    """In mode Observe: the reason that Enforce would have given."""
    excluded: Mapping[str, Exclusion] = {}
    trial: bool = False
    """The first of the order is being tried again after a time out."""
    warmth: Warmth = NO_WARMTH
    """What was expected of prompt caches; nothing is where the request belongs to no conversation, or to mode Off."""
    enforce_provider: str = ""
    """In mode Observe: the first of the order that Enforce would have given."""


def choose(
    query: Query,
    remembered: Remembered | None,
    states: ProviderStates,
    now_s: float,
    random_seed: bytes,
    heads: Heads = NO_HEADS,
    draws: Draws = NO_DRAWS,
) -> Decision:
    """Order the providers for one request.

    `now_s` is wall clock; `random_seed` is used where no conversation may matter (modes Off and Observe) or there is
    none; `heads` says where beginnings of the prompt are warm; `draws` saves work and changes nothing.
    """
    steering = query.steering
    if query.pinned:
        return _pinned(query, steering, states, now_s)
    mode = query.lane.policy.mode if query.stays else "Off"
    warmth = NO_WARMTH
    if mode != "Off" and (remembered is not None or heads):
        warmth = warmth_of(query, remembered, heads, now_s)
        query = as_remembered(query, remembered, warmth)
    filtered = by_health(query.lane, states, now_s)
    if query.lane.limited:
        filtered = by_room(filtered, states.used, query.prompt_tokens + query.output_tokens, now_s)
    if steering is not None:
        left = allowed_by_demands(steering, query)
        filtered = by_demands(filtered, steering, left)
        if not left.providers:
            return Decision((), _bypass(steering) if steering.chooses() else "first.scored", None, filtered.excluded)
        if steering.chooses():
            draw = _Draw(query.key, draws) if query.stays else _Draw(random_seed)
            filtered = without_better(filtered)
            return _steered(query, steering, left, filtered, remembered, warmth, states, now_s, draw)
    filtered = without_better(filtered)
    if mode == "Enforce":
        return _sticky(query, filtered, remembered, warmth, states, now_s, draws)
    draw = _Draw(query.key, draws) if query.placed else _Draw(random_seed)
    order = _in_order((), filtered.open, query, filtered, states, draw)
    if mode == "Off":
        return _decision(filtered, order, _spread_reason(query))
    enforced = _sticky(query, filtered, remembered, warmth, states, now_s, draws)
    decision = _decision(filtered, order, "observe.spread", warmth=warmth)
    return msgspec.structs.replace(decision, enforce_reason=enforced.reason, enforce_provider=enforced.order[0])


def _spread_reason(query: Query) -> DecisionReason:
    if query.stays:
        return "off.spread"
    return "placed.object" if query.placed else "stateless.spread"


def _pinned(query: Query, steering: Steering | None, states: ProviderStates, now_s: float) -> Decision:
    """That provider alone, also while it is out: nobody else has what is asked for."""
    if steering is not None and query.pinned not in allowed_by_demands(steering, query).providers:
        return Decision((), "pinned.object")
    trials = by_health(query.lane, states, now_s).trials if query.lane.model else ()
    return Decision((query.pinned,), "pinned.object", None, {}, query.pinned in trials)


def _sticky(
    query: Query,
    filtered: Filtered,
    remembered: Remembered | None,
    warmth: Warmth,
    states: ProviderStates,
    now_s: float,
    draws: Draws,
) -> Decision:
    failed = remembered.failed_lately(now_s) if remembered is not None else ()
    if failed:
        filtered = by_failure(filtered, failed)
    first, reason = warm_first(filtered, remembered, warmth, query, states, now_s, filtered.open)
    if first:
        order = _in_order(first, filtered.open, query, filtered, states, _Draw(query.key, draws), _Ahead(warmth))
    else:
        outlook = outlook_of(query, remembered.pace if remembered is not None else UNKNOWN_PACE, now_s)
        draw = _Draw(spread_seed(filtered.open, query), draws)
        order = _in_order((), filtered.open, query, filtered, states, draw, _Ahead(warmth, outlook))
    if reason == "first.scored":
        if failed and order[0] not in failed:
            reason = "sticky.left.failed"
        elif order[0] in warmth.tokens:
            reason = "first.warm_head"
        else:
            # Where nothing will be remembered, the reason shows why: else each turn would look like a new conversation.
            reason = why_not_sticky(query.lane.by_provider[order[0]], query) or reason
    return _decision(filtered, order, reason, warmth=warmth)


def _steered(
    query: Query,
    steering: Steering,
    allowed: Allowed,
    filtered: Filtered,
    remembered: Remembered | None,
    warmth: Warmth,
    states: ProviderStates,
    now_s: float,
    draw: "_Draw",
) -> Decision:
    """The client's own order and set, obeyed; memory counts only under policy StickyWithin, and in what prices are."""
    named = tuple(name for name in dict.fromkeys(steering.order) if name in allowed.providers)
    first = tuple(name for name in named if name not in filtered.out)
    reason = _bypass(steering)
    policy = query.lane.policy
    if policy.client_order == "StickyWithin" and policy.mode == "Enforce":
        warm, sticky_reason = warm_first(filtered, remembered, warmth, query, states, now_s, ())
        if sticky_reason in ("sticky.hit", "sticky.returned") and warm[0] in (named or allowed.providers):
            first, reason = (warm[0], *first), "sticky.within"
    # A client may choose a provider that drains: draining turns away only requests that have no preference.
    candidates = (*filtered.open, *filtered.draining)
    if steering.sort is None:
        order = _in_order(first, candidates, query, filtered, states, draw)
    else:
        ranked, degraded = (
            best_first(some, by_sort(steering.sort, some, query, warmth, states, now_s))
            for some in (candidates, filtered.degraded)
        )
        order = in_order(first, ranked, filtered, degraded)
    limit = None if steering.allow_fallbacks else len(named) or 1
    return _decision(filtered, order, reason, limit=limit, warmth=warmth)


def _bypass(steering: Steering) -> DecisionReason:
    """Which of the client's demands names the decision: the strongest."""
    if steering.order:
        return "bypass.order"
    if steering.only is not None:
        return "bypass.only"
    if steering.ignore:
        return "bypass.ignore"
    return "bypass.sort" if steering.sort else "bypass.allow_fallbacks"


class _Draw(msgspec.Struct, frozen=True, gc=False):
    """What near-equals are drawn by."""

    seed: bytes
    draws: Draws = NO_DRAWS
    """Those that may come again: none of random seeds."""


class _Ahead(msgspec.Struct, frozen=True, gc=False):
    """What is to come."""

    warmth: Warmth = NO_WARMTH
    outlook: Outlook | None = None
    """How the conversation is expected to go on; None: this request alone counts."""


_NOTHING_AHEAD: Final = _Ahead()


def _in_order(
    first: Sequence[str],
    candidates: Sequence[Candidate],
    query: Query,
    filtered: Filtered,
    states: ProviderStates,
    draw: _Draw,
    ahead: _Ahead | None = None,
) -> tuple[str, ...]:
    """As much of the order as is tried at most. `ahead`: None: this request alone counts, with nothing warm."""
    most = query.lane.policy.max_attempts + len(first) + len(filtered.shares)
    held_by = draw.seed if ahead is None else query.key
    known = _NOTHING_AHEAD if ahead is None else ahead
    ranked = _spread(query, candidates, filtered.shares, states, draw, held_by, known, most)
    if len(first) + len(ranked) >= most:
        return in_order(first, ranked)
    if filtered.just_failed:
        ranked += _spread(query, filtered.just_failed, filtered.shares, states, draw, held_by, known, most)
    degraded = _spread(query, filtered.degraded, {}, states, draw, held_by, known, most) if filtered.degraded else ()
    return in_order(first, ranked, filtered, degraded)


def _spread(
    query: Query,
    candidates: Sequence[Candidate],
    shares: Mapping[str, float],
    states: ProviderStates,
    draw: _Draw,
    held_by: bytes,
    ahead: _Ahead,
    most: int,
    pool: Pool | None = None,
) -> list[str]:
    """The first `most` at least, or all.

    `shares`: of new conversations, for those that may not have their full one yet; `held_by`: the seed by which they
    have it; `pool`: of the candidates, if it is known.
    """
    if len(candidates) < 2:
        return [candidate.provider for candidate in candidates]
    pool = pool or query.lane.pools.of(candidates)
    if query.lane.zero_weights and (parts := _by_weight(candidates, pool)):
        # Not among the near-equals, however cheap: they would come first where the others are dearer than near.
        ranked: list[str] = []
        for part, its_pool in parts:
            if len(ranked) < most:
                ranked += _spread(query, part, shares, states, draw, held_by, ahead, most, its_pool)
        return ranked
    found = None
    if pool is not None:
        found = (_of_sample if pool.is_varied else _of_pool)(query, pool, states, draw, ahead, most)
    if found is not None:
        ranked = found
    else:
        usd = _usd(query, candidates, ahead)
        scores = weighted(usd, candidates, query.lane.model, states)
        ranked = spread(candidates, usd, scores, query.lane.policy.spread_within_percent, draw.seed)
    return held_back(ranked, shares, held_by) if shares else ranked


def _by_weight(
    candidates: Sequence[Candidate], pool: Pool | None
) -> tuple[tuple[Sequence[Candidate], Pool | None], ...]:
    """Those with a weight and those without; empty where all of them are the one or the other."""
    if pool is not None:
        return tuple([(part.candidates, part) for part in pool.by_weight])
    some = [candidate for candidate in candidates if candidate.weight]
    if not some or len(some) == len(candidates):
        return ()
    return (some, None), ([candidate for candidate in candidates if not candidate.weight], None)


def _usd(query: Query, candidates: Sequence[Candidate], ahead: _Ahead) -> list[float]:
    if ahead.outlook is None:
        return expected_usd(candidates, query, ahead.warmth.tokens)
    usd = totals_usd(candidates, query, ahead.warmth, ahead.outlook)
    return with_moved_heads(candidates, usd, query, ahead.warmth)


def _of_sample(
    query: Query, pool: Pool, states: ProviderStates, draw: _Draw, ahead: _Ahead, most: int
) -> list[str] | None:
    """The same of many that mostly cost something of their own, by a few of them; None: it takes all to tell."""
    warmth = ahead.warmth
    if warmth.tokens and ahead.outlook is not None:
        return None
    dearer = {*states.factors, *states.slow.get(query.lane.model, ())} if states.factors or states.slow else ()
    apart: Collection[str] = {*warmth.tokens, *dearer} if dearer else warmth.tokens
    if warmth.tokens and (ranked := _by_price(query, pool, states, draw, warmth, apart, most)) is not None:
        return ranked
    entries = pool.sample(apart, dearer, draw.draws.first_places(pool.lane, draw.seed))
    if entries is None:
        return None
    usd = _usd(query, [entry.candidate for entry in entries], ahead)
    scores = weighted(usd, [entry.candidate for entry in entries], query.lane.model, states)
    within = query.lane.policy.spread_within_percent
    return first_drawn(pool, entries, usd, scores, within, draw.seed, apart, most, draw.draws)


def _by_price(
    query: Query,
    pool: Pool,
    states: ProviderStates,
    draw: _Draw,
    warmth: Warmth,
    apart: Collection[str],
    most: int,
) -> list[str] | None:
    """The same where so few are near-equals, as of one that is warm, that the cheapest of the others follow.

    None: there are more of them, or that cannot be told.
    """
    lane = query.lane
    cheapest = pool.cheapest(most, apart) if lane.plain_prices and query.prompt_tokens and query.output_tokens else None
    if cheapest is None or len(cheapest) < most:
        return None
    candidates = [*cheapest, *[lane.by_provider[name] for name in apart if name in pool.kind_of]]
    usd = expected_usd(candidates, query, warmth.tokens)
    scores = weighted(usd, candidates, lane.model, states)
    within, own = lane.policy.spread_within_percent, scores[: len(cheapest)]
    if sorted(own)[most - 1] <= near_limit(scores, within):
        return None  # near-equals are drawn
    return spread(candidates, usd, scores, within, draw.seed)


def _of_pool(query: Query, pool: Pool, states: ProviderStates, draw: _Draw, ahead: _Ahead, most: int) -> list[str]:
    """The same of many, of which most cost the same as others."""
    model, warmth = query.lane.model, ahead.warmth
    apart: Collection[str] = warmth.tokens
    if states.factors or states.slow:
        apart = {*warmth.tokens, *states.factors, *states.slow.get(model, ())}
    entries = pool.entries(apart)
    candidates = [entry.candidate for entry in entries]
    if ahead.outlook is not None and warmth.tokens and not warmth.own:
        usd = totals_usd(candidates, query, warmth, ahead.outlook)
        moves = may_move_heads(candidates, usd, query, warmth)
        if drawing := [entry for entry, may in zip(entries, moves, strict=False) if may and entry.kind >= 0]:
            # Each of these draws for itself whether it is the one.
            apart = {*apart, *(each.provider for entry in drawing for _, each in pool.alike(entry, apart))}
            entries = pool.entries(apart)
            candidates = [entry.candidate for entry in entries]
    usd = _usd(query, candidates, ahead)
    scores = weighted(usd, candidates, model, states)
    within = query.lane.policy.spread_within_percent
    return first_ranked(pool, entries, usd, scores, within, draw.seed, apart, most, draw.draws)


def _decision(
    filtered: Filtered,
    order: tuple[str, ...],
    reason: DecisionReason,
    *,
    limit: int | None = None,
    warmth: Warmth = NO_WARMTH,
) -> Decision:
    if filtered.out and order[0] == filtered.out[0]:
        reason = "last_resort.all_out"
    attempts = filtered.lane.policy.max_attempts if limit is None else min(limit, filtered.lane.policy.max_attempts)
    trial = order[0] in filtered.trials
    return Decision(order[:attempts], reason, None, filtered.excluded, trial, warmth)
