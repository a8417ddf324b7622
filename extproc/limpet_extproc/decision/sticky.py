"""Where a conversation stays: the providers that are tried first because it is warm there."""

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Final

import msgspec

from limpet_extproc.contract.reasons import DecisionReason, Exclusion
from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.moving import MoveTarget, cheaper_place, is_surely_cheapest
from limpet_extproc.decision.outlook import outlook_of
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import why_not_sticky
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.totals import stays_and_leaves_usd, totals_usd
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.memory import Remembered

_LEFT: Final[Mapping[Exclusion | None, DecisionReason]] = {
    "degraded": "sticky.left.degraded",
    "down": "sticky.left.down",
    "just_failed": "sticky.left.failed",
    "over_limit": "sticky.left.over_limit",
}

WarmFirst = tuple[tuple[str, ...], DecisionReason]
"""The providers that are tried first, in their order, and why these, or why none."""


def warm_first(
    filtered: Filtered,
    remembered: Remembered | None,
    warmth: Warmth,
    query: Query,
    states: ProviderStates,
    now_s: float,
    elsewhere: Sequence[Candidate],
) -> WarmFirst:
    """The providers that come first because of what is remembered.

    `elsewhere`: where a conversation may move for its price although it is not warm there.
    """
    if remembered is None:
        return (), "first.scored"
    if not remembered.warm:
        pending = remembered.pending
        if pending is not None and filtered.may_stay(pending):
            return (pending,), "sticky.pending"
        return (), "first.scored"
    warm = [each.provider for each in remembered.warm if each.until_s > now_s]
    if not warm:
        return (), "sticky.expired"
    others = [name for name in warm[1:] if filtered.may_stay(name)]
    if others and filtered.trials:
        others.sort(key=lambda name: name in filtered.trials)
    if not filtered.may_stay(warm[0]):
        left = _left(filtered.excluded.get(warm[0]))
        return _least_first(others, elsewhere, query, warmth, remembered, now_s) if others else (), left
    if others and warm[0] in filtered.trials and others[0] not in filtered.trials:
        # A conversation with another warm place leaves the trial to one that has none.
        return (others[0], warm[0], *others[1:]), _left(filtered.trials[warm[0]])
    sticky = filtered.lane.by_provider[warm[0]]
    unpaid = why_not_sticky(sticky, query)
    if unpaid is not None:
        return (), unpaid
    if not others and (not elsewhere or is_surely_cheapest(sticky, query, warmth)):
        return (sticky.provider,), "sticky.hit"
    return _stay_or_move(filtered, sticky, others, warmth, query, states, now_s, remembered, elsewhere)


def _stay_or_move(
    filtered: Filtered,
    sticky: Candidate,
    others: Sequence[str],
    warmth: Warmth,
    query: Query,
    states: ProviderStates,
    now_s: float,
    remembered: Remembered,
    elsewhere: Sequence[Candidate],
) -> WarmFirst:
    own = [sticky, *[filtered.lane.by_provider[name] for name in others]]
    warmth = with_grown(warmth, sticky.provider)
    outlook = outlook_of(query, remembered.pace, now_s)
    to = None
    for only_cheapest in (True, False):
        targets = [MoveTarget(each, ((at - len(own), each),)) for at, each in enumerate(own)]
        names = (sticky.provider, *others)
        targets += _elsewhere(elsewhere, names, query, warmth, states, only_cheapest=only_cheapest)
        usd = stays_and_leaves_usd([each.candidate for each in targets], query, warmth, outlook)
        to, passed_over = cheaper_place(filtered, sticky, targets, usd, query, states, now_s, others)
        if not passed_over:
            break  # whoever costs more than those need not be looked at
    if to is None:
        return (sticky.provider, *others), "sticky.hit"
    reason: DecisionReason = "sticky.returned" if to.provider in others else "sticky.moved.cheaper"
    return (to.provider, sticky.provider, *others), reason


def _elsewhere(
    elsewhere: Sequence[Candidate],
    own: Collection[str],
    query: Query,
    warmth: Warmth,
    states: ProviderStates,
    *,
    only_cheapest: bool,
    own_count: bool = True,
) -> list[MoveTarget]:
    """All but its own places; of those that cost the same, one stands for all.

    `only_cheapest`: of many, those are enough of which one costs no more than any other. `own_count`: its own places
    are compared with the others, so one of them may be that one.
    """
    pool, entries = query.lane.pools.of(elsewhere), None
    apart = {*own, *warmth.tokens, *states.factors, *states.slow.get(query.lane.model, ())}
    if pool is not None:
        varied = pool.is_varied
        uncounted = () if own_count else own
        entries = pool.entries(apart) if not varied else pool.sample(apart, uncounted) if only_cheapest else None
    if pool is None or entries is None:
        return [MoveTarget(each, ((at, each),)) for at, each in enumerate(elsewhere) if each.provider not in own]
    return [
        MoveTarget(each.candidate, pool.alike(each, apart)) for each in entries if each.candidate.provider not in own
    ]


def with_grown(warmth: Warmth, provider: str) -> Warmth:
    """The same where what may be as good as warm there counts as warm, which is a reason to stay."""
    if warmth.grown_tokens <= warmth.tokens.get(provider, 0):
        return warmth
    tokens = {**warmth.tokens, provider: warmth.grown_tokens}
    return msgspec.structs.replace(warmth, tokens=tokens, own=True)


def _least_first(
    others: Sequence[str],
    elsewhere: Sequence[Candidate],
    query: Query,
    warmth: Warmth,
    remembered: Remembered,
    now_s: float,
) -> tuple[str, ...]:
    """Those of the other warm places that cost no more than any that is cold, the cheapest before the others."""
    warm = [query.lane.by_provider[name] for name in others]
    well = ProviderStates()
    targets = _elsewhere(elsewhere, others, query, warmth, well, only_cheapest=True, own_count=False)
    cold = [each.candidate for each in targets]
    usd = totals_usd([*warm, *cold], query, warmth, outlook_of(query, remembered.pace, now_s))
    least_cold = min(usd[len(warm) :], default=inf)
    ranked = sorted(zip(usd, range(len(warm)), others, strict=False))
    return tuple([name for expected, _, name in ranked if expected <= least_cold])


def _left(exclusion: Exclusion | None) -> DecisionReason:
    return _LEFT.get(exclusion, "sticky.left.not_candidate")
