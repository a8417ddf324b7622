"""The decision: one pure function from a request, what is remembered and what is known, to an order of providers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, log
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from limpet_extproc.contract.reasons import DecisionReason, Exclusion
from limpet_extproc.decision.health import State, Verdict, badness, explain, verdict
from limpet_extproc.decision.learn import NOTHING, Learned
from limpet_extproc.decision.price import cold_usd, why_not_sticky
from limpet_extproc.decision.snapshot import Candidate, Lane
from limpet_extproc.decision.steering import Obeyed, Steering, obey
from limpet_extproc.dialects.port import Sort
from limpet_extproc.memory import Remembered


class Query(msgspec.Struct, frozen=True, gc=False):
    """One request, as far as the decision needs it."""

    lane: Lane
    key: bytes
    """The conversation; equal on all replicas."""
    prompt_tokens: int
    output_tokens: int
    steering: Steering | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What this worker knows of the providers at the moment."""

    health: Mapping[str, State] = field(default_factory=dict)
    learned: Mapping[str, Learned] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    """What a dollar counts as there, by what was learned (`learn.factors`); 1 where nothing is said."""
    by_model: Mapping[tuple[str, str], State] = field(default_factory=dict)
    """What is held against one model of a provider, by both names; `health` is about all its models."""

    def state(self, provider: str, model: str) -> State | None:
        """The worse of what is known of the provider and of this model there; None if nothing is."""
        whole, one = self.health.get(provider), self.by_model.get((provider, model))
        if whole is None or one is None:
            return whole or one
        return max(whole, one, key=badness)


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Providers in the order they are tried, no more than the policy allows; empty only if the client left none."""

    order: tuple[str, ...]
    reason: DecisionReason
    would: DecisionReason | None = None
    """In mode Observe: the reason that Enforce would have given."""
    excluded: Mapping[str, Exclusion] = {}
    trial: bool = False
    """The first of the order is being tried again after a time out."""


def choose(query: Query, remembered: Remembered | None, known: Known, now_s: float, random_seed: bytes) -> Decision:
    """Order the providers for one request.

    `now_s` is wall clock; `random_seed` is used where no conversation may matter (modes Off and Observe).
    """
    policy = query.lane.policy
    field_ = _sort_out(query.lane, known, now_s)
    if query.steering is not None:
        obeyed = obey(query.steering, query.lane)
        _leave(obeyed, query.steering, query.lane, field_)
        if not obeyed.allowed:
            nobody: DecisionReason = _bypass(query.steering) if query.steering.chooses() else "first.scored"
            return Decision((), nobody, excluded=field_.excluded)
        if query.steering.chooses():
            return _steered(query, query.steering, obeyed, field_, remembered, known, now_s)
    if policy.mode == "Off":
        return _finish(query, (), _rank(field_.open, query, known, random_seed), field_, "off.spread")
    head, reason = _where_warm(query, remembered, field_, now_s)
    decided = _finish(query, head, _rank(field_.open, query, known, query.key), field_, reason)
    if reason == "first.scored":
        decided = _or_why_not_sticky(query, decided)
    if policy.mode == "Observe":
        spread = _finish(query, (), _rank(field_.open, query, known, random_seed), field_, "observe.spread")
        return Decision(spread.order, spread.reason, decided.reason, spread.excluded, spread.trial)
    return decided


def _or_why_not_sticky(query: Query, decided: Decision) -> Decision:
    """Where nothing will be remembered, the reason says why: else it would be that of a new conversation for ever."""
    if decided.reason != "first.scored":
        return decided
    unpaid = why_not_sticky(query.lane.by_provider[decided.order[0]], query.prompt_tokens)
    return decided if unpaid is None else msgspec.structs.replace(decided, reason=unpaid)


@dataclass(slots=True)
class _Field:
    """The candidates, sorted out by what may be done with them."""

    open: list[Candidate] = field(default_factory=list)
    """Up, or to be tried again; new conversations may go there."""
    draining: list[Candidate] = field(default_factory=list)
    out: list[tuple[float, str]] = field(default_factory=list)
    """(end of its time out, name) of those that are down or over their limit."""
    trials: set[str] = field(default_factory=set)
    excluded: dict[str, Exclusion] = field(default_factory=dict)


def _sort_out(lane: Lane, known: Known, now_s: float) -> _Field:
    if not known.health and not known.by_model and not lane.drains:
        return _Field(list(lane.candidates))
    sorted_out = _Field()
    for candidate in lane.candidates:
        name = candidate.provider
        state = known.state(name, lane.model)
        is_now: Verdict = "up" if state is None else verdict(state, now_s)
        if state is not None and (is_now == "down" or is_now == "over_limit"):
            sorted_out.out.append((max(state.until_s, state.trial_until_s), name))
            sorted_out.excluded[name] = is_now
        elif candidate.drain:
            sorted_out.draining.append(candidate)
            sorted_out.excluded[name] = "draining"
        else:
            sorted_out.open.append(candidate)
        if is_now == "trial":
            sorted_out.trials.add(name)
    sorted_out.out.sort()
    return sorted_out


def _where_warm(
    query: Query, remembered: Remembered | None, sorted_out: _Field, now_s: float
) -> tuple[tuple[str, ...], DecisionReason]:
    """Providers to try first because the conversation is warm there, and why these, or why none."""
    if remembered is None:
        return (), "first.scored"
    if not remembered.warm:
        pending = remembered.pending
        if (
            pending is not None
            and pending in query.lane.by_provider
            and sorted_out.excluded.get(pending, "draining") == "draining"
        ):
            return (pending,), "sticky.pending"
        return (), "first.scored"
    still_warm = [warm for warm in remembered.warm if warm.until_s > now_s]
    if not still_warm:
        return (), "sticky.expired"
    sticky, *others = still_warm
    candidate = query.lane.by_provider.get(sticky.provider)
    also_warm = tuple(
        w.provider
        for w in others
        if w.provider in query.lane.by_provider and sorted_out.excluded.get(w.provider, "draining") == "draining"
    )
    excluded = sorted_out.excluded.get(sticky.provider, "draining")
    if candidate is None or excluded not in ("down", "over_limit", "draining"):
        return also_warm, "sticky.left.not_candidate"
    if excluded == "down":
        return also_warm, "sticky.left.down"
    if excluded == "over_limit":
        return also_warm, "sticky.left.over_limit"
    unpaid = why_not_sticky(candidate, max(query.prompt_tokens, sticky.prompt_tokens))
    if unpaid is not None:
        return (), unpaid
    again = (sticky.provider,) if query.lane.policy.failover == "SaveCache" else ()
    return (sticky.provider, *again, *also_warm), "sticky.hit"


def _steered(
    query: Query,
    steering: Steering,
    obeyed: Obeyed,
    sorted_out: _Field,
    remembered: Remembered | None,
    known: Known,
    now_s: float,
) -> Decision:
    """The client's own order and set, obeyed; memory counts only where the policy says StickyWithin."""
    asked = tuple(name for name in dict.fromkeys(steering.order) if name in obeyed.allowed)
    out = {name for _, name in sorted_out.out}
    head = tuple(name for name in asked if name not in out)
    reason = _bypass(steering)
    policy = query.lane.policy
    if policy.client_order == "StickyWithin" and policy.mode == "Enforce":
        warm, sticky_reason = _where_warm(query, remembered, sorted_out, now_s)
        if sticky_reason == "sticky.hit" and warm[0] in (asked or obeyed.allowed):
            head, reason = (warm[0], *(name for name in head if name != warm[0])), "sticky.within"
    # Whoever may serve may be named: draining keeps only those away who do not care.
    sorted_out.open += sorted_out.draining
    sorted_out.draining = []
    ranked = _sorted_by(steering.sort, sorted_out.open, query, known) or _rank(sorted_out.open, query, known, query.key)
    decision = _finish(query, head, ranked, sorted_out, reason)
    if not steering.allow_fallbacks:
        keep = len(asked) if asked else 1
        return Decision(decision.order[:keep], decision.reason, None, decision.excluded, decision.trial)
    return decision


def _leave(obeyed: Obeyed, steering: Steering, lane: Lane, sorted_out: _Field) -> None:
    """Leave only those that the client allows, and name the others."""
    sorted_out.excluded.update(obeyed.excluded)
    for name in (*steering.order, *(steering.only or ())):
        if name not in lane.by_provider:
            sorted_out.excluded[name] = "not_candidate"
    if obeyed.excluded:
        sorted_out.open = [each for each in sorted_out.open if each.provider in obeyed.allowed]
        sorted_out.draining = [each for each in sorted_out.draining if each.provider in obeyed.allowed]
        sorted_out.out = [(until_s, name) for until_s, name in sorted_out.out if name in obeyed.allowed]


def _bypass(steering: Steering) -> DecisionReason:
    """Which of its demands names the decision: the one that says most."""
    if steering.order:
        return "bypass.order"
    if steering.only is not None:
        return "bypass.only"
    if steering.ignore:
        return "bypass.ignore"
    return "bypass.sort" if steering.sort else "bypass.allow_fallbacks"


def _finish(
    query: Query, head: tuple[str, ...], ranked: Iterable[str], sorted_out: _Field, reason: DecisionReason
) -> Decision:
    order = list(head)
    seen = set(head)
    for name in (*ranked, *(c.provider for c in sorted_out.draining), *(name for _, name in sorted_out.out)):
        if name not in seen:
            order.append(name)
            seen.add(name)
    if sorted_out.out and len(sorted_out.out) == len(seen):
        reason = "last_resort.all_out"
    first_is_trial = bool(order) and order[0] in sorted_out.trials
    return Decision(tuple(order[: query.lane.policy.max_attempts]), reason, None, sorted_out.excluded, first_is_trial)


def _rank(candidates: list[Candidate], query: Query, known: Known, seed: bytes) -> list[str]:
    """Near-equals of the best first, spread by weighted rendezvous on the seed; after them the rest, cheapest first."""
    if len(candidates) < 2:
        return [c.provider for c in candidates]
    usd = _usd_each(candidates, query)
    factors = known.factors
    scores = (
        [price * factors.get(c.provider, 1.0) for price, c in zip(usd, candidates, strict=True)] if factors else usd
    )
    limit = min(scores) * (1 + query.lane.policy.spread_within_percent / 100)
    near: list[tuple[float, str]] = []
    rest: list[tuple[float, str]] = []
    for candidate, price, score in zip(candidates, usd, scores, strict=True):
        if score <= limit:
            near.append((-_pull(seed, candidate, price), candidate.provider))
        else:
            rest.append((score, candidate.provider))
    near.sort()
    rest.sort()
    return [name for _, name in (*near, *rest)]


def _pull(seed: bytes, candidate: Candidate, usd: float) -> float:
    """Weighted rendezvous: the highest wins, in proportion to weight over price squared; zero weight never wins."""
    unit = (xxh3_64_intdigest(seed + candidate.seed) + 1) / 2.0**64
    weight = candidate.weight / (usd * usd)
    return inf if unit >= 1.0 else weight / -log(unit)


def _usd_each(candidates: list[Candidate], query: Query) -> list[float]:
    """Expected dollars at each; an unknown price counts as the dearest known one, and all unknown as equal."""
    known = [
        None if c.price is None else max(cold_usd(c.price, query.prompt_tokens, query.output_tokens), _NEARLY_FREE)
        for c in candidates
    ]
    dearest = max((usd for usd in known if usd is not None), default=1.0)
    return [dearest if usd is None else usd for usd in known]


_NEARLY_FREE: Final = 1e-9
"""A price of zero is a real one (a free tier), but nothing can be divided by it."""


def _sorted_by(sort: Sort | None, candidates: list[Candidate], query: Query, known: Known) -> list[str]:
    if sort == "price":
        return [
            name for _, name in sorted(zip(_usd_each(candidates, query), (c.provider for c in candidates), strict=True))
        ]
    if sort == "throughput":
        rates = ((-known.learned.get(c.provider, NOTHING).tokens_per_s, c.provider) for c in candidates)
        return [name for _, name in sorted(rates)]
    if sort == "latency":
        waits = ((known.learned.get(c.provider, NOTHING).first_byte_s or inf, c.provider) for c in candidates)
        return [name for _, name in sorted(waits)]
    return []


def why(decision: Decision, model: str, known: Known, now_s: float) -> str:
    """For a person who gets an error: what is wrong with each provider of the order. Empty when nothing is."""
    states = {name: known.state(name, model) for name in decision.order}
    wrong = {name: state for name, state in states.items() if state is not None and state.out_because}
    return "; ".join(explain(name, state, now_s) for name, state in wrong.items())
