"""How much of a prompt each provider's cache should have: from where the conversation was, and from shared heads."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from limpet_extproc.decision.prefix import HASH_BYTES, Chain, PromptHead, boundary_name, changed_at, shared_boundaries
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import allowed_by_demands, is_cached
from limpet_extproc.memory import Remembered, Warm
from limpet_extproc.memory.heads import Heads, WarmHead


class Warmth(msgspec.Struct, frozen=True, gc=False):
    """What is known of prompt caches before a request is sent."""

    prompt_tokens: int = 0
    """Of this prompt, by what the last turn was counted as; 0: no turn is remembered."""
    tokens: Mapping[str, int] = MappingProxyType({})
    """By provider: the leading tokens of this prompt that its cache should have; without those that have none."""
    coming: tuple[str, ...] = ()
    """Of these: where they will be when the first request with the same head has begun to be answered."""
    changed_at: str = ""
    """Where this prompt departs from the one of the last turn (`prefix.boundary_name`); empty: nowhere, or unknown."""
    grown_tokens: int = 0
    """Where that is in the last message of that turn: what its provider has of this prompt if that message has only
    become longer, as with clients that send a whole transcript as one message."""
    own: bool = False
    """Whether the conversation itself is warm anywhere; else they are all heads that others have brought there."""
    head_tokens: int = 0
    """Of a conversation that is: its beginning that others keep warm."""


NO_WARMTH: Final = Warmth()


def warmth_of(query: Query, remembered: Remembered | None, heads: Heads, now_s: float) -> Warmth:
    """Of this prompt; a provider that caches nothing of it has none, whatever was there before."""
    tokens: dict[str, int] = {}
    prompt_tokens, scale, changed, grown = 0, 1.0, "", 0
    if remembered is not None and remembered.warm:
        newest = remembered.warm[0]
        prompt_tokens, scale, changed = _against(newest, query)
        if changed and newest.until_s > now_s and len(newest.chain) % HASH_BYTES == 0:
            last = boundary_name(len(newest.chain) // HASH_BYTES - 1)
            grown = min(newest.prompt_tokens, prompt_tokens) if changed == last else 0
        for place in remembered.warm:
            if place.until_s > now_s:
                found = min(_shared_tokens(place, query.chain, scale), prompt_tokens)
                candidate = query.lane.by_provider.get(place.provider)
                if found and candidate is not None and is_cached(candidate, query, prompt_tokens):
                    tokens[place.provider] = found
    own = bool(tokens)
    head = remembered.pace.head_tokens if own and remembered is not None else 0
    if head:
        head = min(head, *tokens.values())
    coming = _add_heads(tokens, query, heads, prompt_tokens, scale, now_s) if heads else ()
    return Warmth(prompt_tokens, tokens, coming, changed, grown, own, head)


def _against(newest: Warm, query: Query) -> tuple[int, float, str]:
    """The tokens of this prompt, what an estimated token counts as, and where it departs from that of the last turn."""
    chain, counted = query.chain, newest.prompt_tokens
    if not chain.hashes or not newest.chain:
        return max(query.prompt_tokens, counted), 1.0, ""
    if _continues(chain, newest.chain):
        shared = len(newest.chain) // HASH_BYTES
    else:
        changed = changed_at(chain.hashes, newest.chain)
        shared = shared_boundaries(chain.hashes, newest.chain)
        if changed or shared == len(chain.tokens):  # another prompt, or one that the last one began with
            return query.prompt_tokens, 1.0, changed
    estimated = chain.tokens[shared - 1] if shared else 0
    if not counted or not estimated:
        return query.prompt_tokens, 1.0, ""
    scale = counted / estimated
    return round(scale * chain.tokens[-1]), scale, ""


def _continues(chain: Chain, earlier: bytes) -> bool:
    """Whether it begins with all of an earlier prompt; False also where too many boundaries were not kept to say so."""
    return chain.hashes.startswith(earlier) and len(earlier) % HASH_BYTES == 0


def _shared_tokens(place: Warm, chain: Chain, scale: float) -> int:
    """The leading tokens of this prompt that its last one there left; all of that where nothing else is known."""
    left = place.cached_tokens or place.prompt_tokens  # less where not all of it was marked
    if not chain.hashes or not place.chain or _continues(chain, place.chain):
        return left
    if not changed_at(chain.hashes, place.chain):
        return left
    shared = shared_boundaries(chain.hashes, place.chain)
    return min(left, round(scale * chain.tokens[shared - 1])) if shared else 0


def coming_heads(query: Query, heads: Heads) -> Heads:
    """Of these, what the request could read if it waited: on its way to where it may go, and in no cache there yet."""
    steering, allowed = query.steering, frozenset(query.lane.by_provider)
    if steering is not None:
        allowed = allowed_by_demands(steering, query).providers
        if steering.order:
            allowed &= frozenset(steering.order)
    coming: dict[bytes, tuple[WarmHead, ...]] = {}
    for head in query.chain.heads:
        places = tuple(
            place
            for place in heads.get(head.hash, ())
            if place.provider in allowed and _keeps(query, place.provider, head, head.tokens, 0)
        )
        if places and all(place.pending_s for place in places):
            coming[head.hash] = places
    return coming


def _add_heads(
    tokens: dict[str, int], query: Query, heads: Heads, prompt_tokens: int, scale: float, now_s: float
) -> tuple[str, ...]:
    """Add what others have brought there, where that is more than the conversation itself has.

    Returns where it is still to come.
    """
    coming: dict[str, int] = {}
    for head in query.chain.heads:
        found = round(scale * head.tokens)
        for place in heads.get(head.hash, ()):
            if place.until_s > now_s and _keeps(query, place.provider, head, found, prompt_tokens):
                known = coming if place.pending_s else tokens
                known[place.provider] = max(found, known.get(place.provider, 0))
    more = {name: found for name, found in coming.items() if name not in tokens}
    tokens.update(more)
    return tuple(more)


def _keeps(query: Query, provider: str, head: PromptHead, tokens: int, prompt_tokens: int) -> bool:
    candidate = query.lane.by_provider.get(provider)
    return (
        candidate is not None
        and tokens >= candidate.min_tokens
        and (head.marked or not candidate.cache_fields.only_marked)
        and is_cached(candidate, query, prompt_tokens)
    )
