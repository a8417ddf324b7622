"""What is known of the prompt caches when a request is decided, for whoever asks later why it read what it read."""

from collections.abc import Sequence
from itertools import repeat
from typing import Final

from limpet_extproc.contract.record import CacheEvidence
from limpet_extproc.decision.breakpoints import gets_mark
from limpet_extproc.decision.prefix import HASH_BYTES, Chain, boundary_count, changed_at, shared_boundaries
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import asked_ttl_s
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.memory import Remembered, Warm

_OF_A_TURN: Final = 2
"""Messages that it adds at least: the answer before it, and what is said to that now."""

_NOWHERE: Final = Warm("", 0.0)


def evidence_of(
    query: Query,
    order: Sequence[str],
    remembered: Remembered | None,
    warmth: Warmth,
    now_s: float,
    model_before: str = "",
) -> CacheEvidence:
    """For a request that is tried at these providers.

    `model_before`: the model of the last turn, where that was another.
    """
    before = _NOWHERE if remembered is None else _before(query, remembered)
    compared, changed, shared, shared_tokens, changed_tokens = _compared(query.chain, before.chain)
    alike = compared and query.settings == before.settings
    coming = warmth.coming
    if remembered is not None and remembered.pending and not before.provider:
        coming = (*coming, remembered.pending)
    lane = query.lane
    expected = list(map(warmth.tokens.get, order, repeat(0)))
    unmarked: list[bool] = []
    for at, name in enumerate(order if changed or lane.only_marked else ()):  # nearly always none
        candidate = lane.by_provider[name]
        only_marked, tokens = candidate.cache_fields.only_marked, expected[at]
        if only_marked and name == before.provider and _new_messages(query.chain, before.chain, shared) > _OF_A_TURN:
            alike = False  # after so many messages its breakpoint may not reach back to that of the last turn
        if changed and name == before.provider and before.until_s > now_s:
            if only_marked:
                tokens = 0  # how much comes before the change says little of the last breakpoint before it
            elif tokens < shared_tokens >= candidate.min_tokens:
                tokens = shared_tokens
        expected[at] = tokens
        unmarked.append(only_marked and not gets_mark(candidate, query))
    return CacheEvidence(
        expected=tuple(expected),
        before=before.provider,
        before_tokens=before.prompt_tokens,
        before_until_s=before.until_s,
        changed_at=changed,
        model_before=model_before,
        parallel=tuple([name in coming for name in order]) if coming else (),
        no_breakpoint=tuple(unmarked) if True in unmarked else (),
        min_tokens=tuple(map(lane.min_tokens.__getitem__, order)) if lane.min_tokens else (),
        compared=compared,
        shared_tokens=shared_tokens,
        changed_tokens=changed_tokens,
        goes_on=query.has_history or bool(query.pinned),
        asked_alike=alike,
        added_tokens=_added(query),
    )


def _compared(chain: Chain, before: bytes) -> tuple[bool, str, int, int, int]:
    """Whether this prompt can be compared with that of the last turn, and where it departs from it.

    Then how many boundaries and tokens they share, and how many tokens this one has up to the end of what has changed.
    """
    hashes, tokens = chain.hashes, chain.tokens
    if not before or not hashes:
        return False, "", 0, 0, 0
    if hashes.startswith(before) and len(hashes) == HASH_BYTES * len(tokens):  # nearly always: it has only grown
        shared, changed = len(before) // HASH_BYTES, ""
    else:
        shared, changed = shared_boundaries(hashes, before), changed_at(hashes, before)
    return True, changed, shared, tokens[shared - 1] if shared else 0, tokens[min(shared, len(tokens) - 1)]


def _new_messages(chain: Chain, before: bytes, shared: int) -> int:
    """How many this prompt has after that of the last turn, or in the place of some of it."""
    return min(len(chain.tokens) - shared, boundary_count(chain.hashes) - boundary_count(before))


def _before(query: Query, remembered: Remembered) -> Warm:
    """Where the last turn was served, and as `prompt_tokens` what it left there."""
    pace, failure = remembered.pace, remembered.failure
    if remembered.warm:
        before = remembered.warm[0]
    elif failure is not None and pace.turns:
        # It is not warm there any more, but it was before it failed.
        before = Warm(failure.providers[0], pace.last_s + _ttl_s(query, failure.providers[0]), pace.prompt_tokens)
    elif pace.turns:
        # All that is left of one that was over a while ago.
        return Warm("", pace.last_s + max(each.cache_ttl_s for each in query.lane.candidates))
    else:
        return _NOWHERE
    candidate = query.lane.by_provider.get(before.provider)
    short = candidate is not None and before.prompt_tokens < candidate.min_tokens
    left = 0 if short else before.cached_tokens or before.prompt_tokens
    until_s = before.until_s
    if candidate is not None and (by_policy_s := query.lane.policy.memory_ttl_s):
        # It stays so long, whatever the vendor does.
        until_s -= max(0.0, by_policy_s - (asked_ttl_s(candidate, query) or candidate.cache_ttl_s))
    return Warm(before.provider, until_s, left, 0, before.chain, before.settings)


def _ttl_s(query: Query, provider: str) -> float:
    candidate = query.lane.by_provider.get(provider)
    return candidate.cache_ttl_s if candidate is not None else 0.0


def _added(query: Query) -> int:
    """Tokens of this turn, without those of earlier ones; 0 where that is not known."""
    if query.pinned:
        return query.prompt_tokens  # the body has no more
    tokens = query.chain.tokens
    return tokens[-1] - tokens[-1 - _OF_A_TURN] if len(tokens) > _OF_A_TURN else 0
