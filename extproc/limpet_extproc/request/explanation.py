"""Why a request goes where it goes, in numbers: what `limpet explain` and `x-limpet-debug` show.

Nothing is decided here. The decision is the one that was made; its costs come from the functions that made it, for the
values that it was made of.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import Policy
from limpet_extproc.contract.explanation import (
    ExplainedCandidate,
    ExplainedEdits,
    ExplainedIdentity,
    ExplainedKeeping,
    ExplainedMemory,
    ExplainedOutlook,
    ExplainedPlace,
    ExplainedPrompt,
    ExplainedRefusal,
    ExplainedSending,
    Explanation,
)
from limpet_extproc.contract.reasons import Exclusion
from limpet_extproc.decision.head_moving import with_moved_heads
from limpet_extproc.decision.outlook import UNKNOWN_PACE, as_remembered, outlook_of
from limpet_extproc.decision.pick import near_limit
from limpet_extproc.decision.prefix import boundary_count
from limpet_extproc.decision.price import PER_MTOK
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import (
    allowed_by_demands,
    cache_ttl_s,
    is_cached,
    request_price,
    why_not_sticky,
)
from limpet_extproc.decision.score import expected_usd, weighted
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.sticky import with_grown
from limpet_extproc.decision.totals import stays_and_leaves_usd
from limpet_extproc.decision.unbeaten import MARGIN
from limpet_extproc.decision.warmth import NO_WARMTH, Warmth, coming_heads
from limpet_extproc.decision.worth import Outlook
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.memory import Remembered
from limpet_extproc.memory.heads import Heads
from limpet_extproc.request.edits import Edits
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing, counted
from limpet_extproc.request.splices import Splices

_DIGITS: Final = 10
"""After the point of a dollar: what a token costs at the cheapest has seven."""


class Considered(msgspec.Struct, frozen=True, gc=False):
    """What a request was decided by."""

    opened: Opened
    remembered: Remembered | None
    states: ProviderStates
    heads: Heads
    now_s: float


def explained(head: RequestHead, considered: Considered | None, found: Routing | Refusal, now_s: float) -> Explanation:
    """The explanation of a routing, or of a refusal; `considered` is None where it was refused before the decision."""
    refused = _refused(found) if isinstance(found, Refusal) else None
    if considered is None:
        reason = found.reason if isinstance(found, Refusal) else found.decision.reason
        model = found.model if isinstance(found, Refusal) else found.record.model
        return Explanation(reason, head.api.name, model, head.api.kind, refused=refused, at_s=now_s)
    opened, remembered = considered.opened, considered.remembered
    policy = opened.query.lane.policy
    if isinstance(found, Refusal):
        excluded: Mapping[str, Exclusion] = {}
        if opened.query.steering is not None:
            excluded = {**allowed_by_demands(opened.query.steering, opened.query).excluded}
        whole = _Comparison(considered, NO_WARMTH, excluded, ())
        return _explanation(whole, found.reason, refused=refused, policy=policy)
    decision = found.decision
    whole = _Comparison(considered, decision.warmth, decision.excluded, decision.order)
    explanation = _explanation(whole, decision.reason, policy=policy)
    return msgspec.structs.replace(
        explanation,
        enforce_reason=decision.enforce_reason or "",
        enforce_provider=decision.enforce_provider,
        order=decision.order,
        candidates=tuple(
            msgspec.structs.replace(each, edits=_edits(opened, found.edits, each.provider)) if each.place else each
            for each in explanation.candidates
        ),
        identity=_identity(opened, unrecognised=found.record.unrecognised),
        prompt=_prompt(whole, found),
        memory=None if remembered is None else _memory(remembered, considered.now_s),
        problems=found.why,
        sending=ExplainedSending(
            found.tries.each, found.tries.wait_s, found.tries.save_cache_s, _hold_s(considered, whole.query)
        ),
        keeping=_keeping(opened, found),
    )


class _Comparison:
    """What all candidates are compared by, as `choose` does it."""

    def __init__(
        self, considered: Considered, warmth: Warmth, excluded: Mapping[str, Exclusion], order: Sequence[str]
    ) -> None:
        query, remembered = counted(considered.opened.query, considered.states), considered.remembered
        policy, steering = query.lane.policy, query.steering
        recalls = query.stays and policy.mode != "Off" and not query.pinned
        self.considered = considered
        self.query: Query = as_remembered(query, remembered, warmth) if recalls else query
        self.warmth = warmth
        self.excluded = excluded
        self.order = order
        query = self.query
        places = () if remembered is None else remembered.warm
        self.warm_until_s = {each.provider: each.until_s for each in places if each.until_s > considered.now_s}
        chooses = steering is not None and steering.chooses()
        self.looks_ahead = recalls and not chooses
        pace = UNKNOWN_PACE if remembered is None else remembered.pace
        self.outlook: Outlook = outlook_of(query, pace, considered.now_s)
        open_ = [each for each in query.lane.candidates if each.provider not in excluded]
        stays = [
            query.lane.by_provider[name]
            for name in self.warm_until_s
            if name in query.lane.by_provider and excluded.get(name) == "draining"
        ]
        self.compared: list[Candidate] = [*stays, *open_]
        self.both_usd: dict[str, tuple[float, float]] = {}
        if self.looks_ahead and self.compared:
            found = stays_and_leaves_usd(self.compared, query, self._warmth(), self.outlook)
            self.both_usd = {each.provider: both for each, both in zip(self.compared, found, strict=True)}
        self.scores = self._scores()
        self.near = self._near(open_)

    def _warmth(self) -> Warmth:
        first = next((name for name in self.warm_until_s if name in self.query.lane.by_provider), "")
        return with_grown(self.warmth, first) if first else self.warmth

    def _scores(self) -> dict[str, float]:
        if not self.compared or self.query.pinned:
            return {}
        query, states = self.query, self.considered.states
        if self.both_usd and query.lane.policy.mode == "Enforce":
            usd = [min(self.both_usd[each.provider]) for each in self.compared]
            usd = with_moved_heads(self.compared, usd, query, self.warmth)
        elif query.steering is not None and query.steering.sort is not None:
            usd = expected_usd(self.compared, query, self.warmth.tokens)
        else:
            usd = expected_usd(self.compared, query)
        scores = weighted(usd, self.compared, query.lane.model, states)
        return {each.provider: score for each, score in zip(self.compared, scores, strict=True)}

    def _near(self, candidates: Sequence[Candidate]) -> frozenset[str]:
        if self.warm_until_s or (self.query.steering is not None and self.query.steering.sort is not None):
            return frozenset()
        weighty = [each.provider for each in candidates if each.weight] or [each.provider for each in candidates]
        scores = [self.scores[name] for name in weighty if name in self.scores]
        limit = near_limit(scores, self.query.lane.policy.spread_within_percent) if scores else 0.0
        found = frozenset(name for name in weighty if self.scores.get(name, limit + 1) <= limit)
        return found if len(found) > 1 else frozenset()

    def candidates(self) -> tuple[ExplainedCandidate, ...]:
        """In the order, then the others by name; strangers that the client names come last."""
        lane = self.query.lane
        usd = expected_usd(lane.candidates, self.query, self.warmth.tokens) if self.query.prompt_tokens else []
        known = dict(zip((each.provider for each in lane.candidates), usd, strict=False))
        found = [self._candidate(each, known.get(each.provider)) for each in lane.candidates]
        strangers = [name for name in self.excluded if name not in lane.by_provider]
        found += [ExplainedCandidate(name, passed_over=self.excluded[name]) for name in strangers]
        return tuple(
            sorted(found, key=lambda each: (not each.place, each.place, each.provider in strangers, each.provider))
        )

    def _candidate(self, candidate: Candidate, usd: float | None) -> ExplainedCandidate:
        name, query, states = candidate.provider, self.query, self.considered.states
        price, warm = request_price(candidate, query), self.warmth.tokens.get(name, 0)
        read = min(warm, query.prompt_tokens)
        rest, caches = query.prompt_tokens - read, is_cached(candidate, query)
        per_token = PER_MTOK if price is not None and usd is not None else 0.0
        written = rest * price.cache_write * per_token if price is not None else 0.0
        stays, leaves = self.both_usd.get(name, (None, None))
        unsticky = why_not_sticky(candidate, query) if query.stays else None
        return ExplainedCandidate(
            name,
            place=self.order.index(name) + 1 if name in self.order else 0,
            passed_over=self.excluded.get(name, ""),
            trouble=states.judge(name, query.lane.model, self.considered.now_s).trouble or "",
            priced=price is not None,
            warm_tokens=warm,
            coming=name in self.warmth.coming,
            warm_until_s=self.warm_until_s.get(name, 0.0),
            uncached_usd=0.0 if caches else _usd(written),
            read_usd=_usd(read * price.cache_read * per_token) if price is not None else 0.0,
            write_usd=_usd(written) if caches else 0.0,
            output_usd=_usd(query.output_tokens * price.output * per_token) if price is not None else 0.0,
            request_usd=None if usd is None or (price is None and not self._any_price()) else _usd(usd),
            stays_usd=None if stays is None else _usd(stays),
            leaves_usd=None if leaves is None else _usd(leaves),
            factor=round(states.factor(name, query.lane.model), 4),
            score=_usd(self.scores[name]) if name in self.scores else None,
            near=name in self.near,
            lifetime_s=0.0 if unsticky or not query.stays else cache_ttl_s(candidate, query),
            unsticky=unsticky or "",
        )

    def _any_price(self) -> bool:
        return any(each.price is not None for each in self.query.lane.candidates)


def _explanation(
    whole: _Comparison, reason: str, *, policy: Policy, refused: ExplainedRefusal | None = None
) -> Explanation:
    opened, query = whole.considered.opened, whole.query
    outlook = whole.outlook
    return Explanation(
        reason,
        opened.head.api.name,
        query.lane.model,
        opened.head.api.kind,
        refused=refused,
        policy=policy.name,
        mode=policy.mode,
        identity=_identity(opened),
        outlook=ExplainedOutlook(
            round(outlook.again / (1 - outlook.again), 2),
            round(outlook.gap_s, 1),
            round(outlook.growth_tokens, 1),
            round(outlook.output_tokens, 1),
        )
        if whole.looks_ahead
        else None,
        margin=MARGIN if whole.looks_ahead and whole.warm_until_s else 0.0,
        candidates=whole.candidates(),
        at_s=whole.considered.now_s,
    )


def _usd(dollars: float) -> float:
    return round(dollars, _DIGITS)


def _refused(refusal: Refusal) -> ExplainedRefusal:
    return ExplainedRefusal(refusal.status, refusal.reason, refusal.message, refusal.param or "")


def _identity(opened: Opened, *, unrecognised: bool = False) -> ExplainedIdentity:
    client = opened.head.client
    name = "" if client is None else client.name
    return ExplainedIdentity(opened.query.key.hex(), opened.identified_by, opened.tenant, name, unrecognised)


def _prompt(whole: _Comparison, routing: Routing) -> ExplainedPrompt:
    query, cache = whole.query, routing.record.cache
    return ExplainedPrompt(
        query.prompt_tokens,
        query.output_tokens,
        boundary_count(query.chain.hashes),
        len(query.chain.heads),
        whole.warmth.changed_at or cache.changed_at,
        cache.compared,
    )


def _memory(remembered: Remembered, now_s: float) -> ExplainedMemory:
    pace = remembered.pace
    return ExplainedMemory(
        tuple(
            ExplainedPlace(each.provider, each.until_s, each.prompt_tokens, each.until_s <= now_s)
            for each in remembered.warm
        ),
        remembered.pending or "",
        remembered.failed_lately(now_s),
        pace.turns,
        round(pace.gap_s, 1),
        round(pace.growth_tokens, 1),
        remembered.cause,
    )


def _hold_s(considered: Considered, query: Query) -> float:
    policy = query.lane.policy
    return policy.hold_first_s if policy.hold_first_s and coming_heads(query, considered.heads) else 0.0


def _keeping(opened: Opened, routing: Routing) -> ExplainedKeeping:
    record, query = routing.record, opened.query
    first = record.order[0]
    if record.learn and record.ttls_s[0] > 0:
        return ExplainedKeeping(first, record.ttls_s[0])
    if opened.head.api.kind != "conversation":
        return ExplainedKeeping(why_not="no_conversation")
    if query.lane.policy.mode == "Off":
        return ExplainedKeeping(why_not="mode_off")
    if not record.learn:
        return ExplainedKeeping(why_not="client_steers")
    return ExplainedKeeping(why_not=why_not_sticky(query.lane.by_provider[first], query) or "")


def _edits(opened: Opened, edits: Edits | None, provider: str) -> ExplainedEdits | None:
    """By the names of fields: of what is written no more than that is told."""
    splices = () if edits is None else edits.of(provider)
    if not splices:
        return None
    candidate = opened.query.lane.by_provider[provider]
    request = opened.request
    named = any(text is True or _is_model(request, offset, length) for offset, length, text in splices)
    added = " ".join(text for _, _, text in splices if text is not True)
    return ExplainedEdits(
        candidate.upstream_model if named or '"model":' in added else "",
        tuple(dict.fromkeys(_removed(request, splices))),
        tuple(name for name in _ADDED if f'"{name}"' in added),
    )


_ADDED: Final = ("cache_control", "prompt_cache_key", "stream_options")
"""Fields that an edit may add, or write anew."""


def _is_model(request: ParsedRequest, offset: int, length: int) -> bool:
    return length > 0 and (offset, length) == (request.model_span.offset, request.model_span.length)


def _removed(request: ParsedRequest, splices: Splices) -> list[str]:
    cache = request.cache
    members = [*request.ours]
    if request.provider_object is not None:
        members += request.provider_object.lists
    if cache is not None:
        members += [*cache.marks, *cache.retention, *([cache.top_level] if cache.top_level else [])]
    return [
        member.name
        for offset, length, text in splices
        if text == "" and length
        for member in members
        if offset <= member.value and member.end <= offset + length
    ]
