"""What an answered request cost, and what it would have cost otherwise. Pure; docs/ledger.md has the assumptions.

Otherwise means: without any prompt cache; spread anew, as mode Off spreads each request; always at the cheapest
provider by price lists. Each is the same request with the same answer at prices of the same moment.
"""

from collections.abc import Sequence
from itertools import repeat
from math import inf
from typing import Protocol

import msgspec

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.open_to import open_to
from limpet_extproc.decision.price import PER_MTOK, price_for
from limpet_extproc.decision.snapshot import Candidate, Lane
from limpet_extproc.decision.spread_shares import spread_shares


class ReportedTokens(Protocol):
    """The usage that came with an answer; None: not reported."""

    @property
    def prompt(self) -> int:
        """With all that was read from the cache or written to it."""

    @property
    def cached(self) -> int | None:
        """Of the prompt, read from the cache."""

    @property
    def output(self) -> int:
        """Of the answer."""

    @property
    def written(self) -> int | None:
        """Of the prompt, written to the cache."""

    @property
    def written_long(self) -> int | None:
        """Of these, for an hour or longer."""


class RequestBill(msgspec.Struct, frozen=True, gc=False):
    """US dollars of one answered request."""

    paid_usd: float
    uncached_usd: float
    """Had its provider no cache."""
    spread_usd: float
    """Had it, and each turn before it, been spread anew over the near-equals."""
    cheapest_usd: float
    """Had it, and each turn before it, gone to the cheapest."""
    cache_unreported: bool = False
    """Whether the answer did not say what was read from the cache: it counts as if nothing had been."""


class SharedPrompt(msgspec.Struct, frozen=True, gc=False):
    """What a prompt has in common with those before it, and when these came."""

    prompt_tokens: int
    shared_tokens: int
    """With the turn before: what a cache that has served that turn has of this prompt."""
    head_tokens: int
    """Of these: what other conversations keep warm everywhere."""
    turns: int
    """Before this one."""
    last_gap_s: float
    """From the start of the last one."""
    gap_s: float
    """Between those before it, on average."""
    growth_tokens: float
    """By which the prompt grew from turn to turn."""


def bill(lane: Lane, provider: str, record: Record, tokens: ReportedTokens) -> RequestBill | None:
    """Of a request that this provider of the lane answered; None: its price is not known, which is not free."""
    candidate = lane.by_provider.get(provider)
    price = price_for(candidate, tokens.prompt, record.service_tier) if candidate is not None else None
    if candidate is None or price is None:
        return None
    paid = paid_usd(price, tokens)
    uncached = PER_MTOK * (tokens.prompt * price.input + tokens.output * price.output)
    if tokens.cached is None:
        return RequestBill(paid, uncached, paid, paid, cache_unreported=True)
    if len(lane.candidates) < 2 or not _may_choose(record):
        return RequestBill(paid, uncached, paid, paid)
    others, prices, counts = open_to(lane, candidate, price, record, tokens.prompt, tokens.output)
    common = shared_prompt(record, provider, tokens)
    prompt, output = tokens.prompt, tokens.output
    cold_usd = [PER_MTOK * (prompt * each.cache_write + output * each.output) for each in prices]
    elsewhere = _Elsewhere(record, candidate, tokens, common)
    spread = paid
    if _was_kept_together(record):
        shares = spread_shares(others, cold_usd, lane.policy.spread_within_percent, counts)
        spread = elsewhere.spread_usd(others, prices, cold_usd, shares, counts)
    # Always at the cheapest, which is taken to be the same for all turns; of equals, where it went.
    least_usd = min(cold_usd)
    at = others.index(candidate)
    if cold_usd[at] > least_usd:
        at = cold_usd.index(least_usd)
    lifetime_s = elsewhere.lifetime_s(others[at])
    alive = common.turns > 0 and common.last_gap_s <= lifetime_s
    warm = common.shared_tokens if alive else common.head_tokens
    return RequestBill(paid, uncached, spread, elsewhere.usd(others[at], prices[at], cold_usd[at], warm, lifetime_s))


def paid_usd(price: Price, tokens: ReportedTokens) -> float:
    """What a provider charges for these tokens. Where it does not say that it wrote to its cache, it did not."""
    cached, written = tokens.cached or 0, tokens.written or 0
    if not written:
        uncached = max(0, tokens.prompt - cached)
        return PER_MTOK * (uncached * price.input + cached * price.cache_read + tokens.output * price.output)
    long = tokens.written_long or 0
    return PER_MTOK * (
        max(0, tokens.prompt - cached - written) * price.input
        + cached * price.cache_read
        + (written - long) * price.cache_write
        + long * price.long_write
        + tokens.output * price.output
    )


def shared_prompt(record: Record, provider: str, tokens: ReportedTokens) -> SharedPrompt:
    """What is known of the turns before, with what the answer shows: what the cache had is shared.

    A conversation that came from another provider found less here than it has in common with its last turn.
    """
    cached, before, evidence = tokens.cached or 0, record.before, record.cache
    if not before.turns:
        return SharedPrompt(tokens.prompt, cached, cached, 0, 0.0, 0.0, 0.0)
    shared = cached
    if evidence.before and evidence.before != provider:
        at = record.order.index(evidence.before) if evidence.before in record.order else len(evidence.expected)
        known = evidence.expected[at] if at < len(evidence.expected) else 0
        shared = max(cached, known or (evidence.shared_tokens if evidence.changed_at else evidence.before_tokens))
    rest = _unwritten(tokens)
    shared = min(shared, tokens.prompt - rest if rest < tokens.prompt else tokens.prompt)
    return SharedPrompt(
        tokens.prompt,
        shared,
        min(before.head_tokens, shared),
        before.turns,
        before.last_gap_s,
        before.gap_s or before.last_gap_s,
        max(0.0, before.growth_tokens),
    )


def spread_warm_tokens(common: SharedPrompt, share: float, lifetime_s: float) -> float:
    """The tokens of a prompt that a provider is expected to have, had each turn gone there with chance `share`.

    It has what the last of the turns had that went there. That was `j` turns ago with the chance
    share (1 - share)^(j-1), and was (j - 1) growths shorter than the last turn; for `j` up to as many turns as there
    were and as fit into the cache's lifetime. Sums of geometric series, closed.
    """
    if lifetime_s <= 0:
        return 0.0
    own, most = common.shared_tokens - common.head_tokens, _turns_that_count(common, lifetime_s)
    return common.head_tokens + (_warm_of_turns(own, common.growth_tokens, share, most) if most and share > 0 else 0.0)


def _turns_that_count(common: SharedPrompt, lifetime_s: float) -> int:
    """How many of the turns before may have left something of this prompt in a cache of this lifetime."""
    if not common.turns or common.last_gap_s > lifetime_s:
        return 0
    own = common.shared_tokens - common.head_tokens
    fit = 1 + (lifetime_s - common.last_gap_s) / common.gap_s if common.gap_s > 0 else inf
    longer = 1 + own / common.growth_tokens if common.growth_tokens > 0 else inf
    return int(min(common.turns, fit, longer))


def _warm_of_turns(own_tokens: int, growth_tokens: float, share: float, most: int) -> float:
    """What of `spread_warm_tokens` the conversation's own turns have left, so many of them."""
    other = 1.0 - share
    none = other**most
    # Sum of share * other^(j-1) over j, and the same times (j - 1).
    once = 1.0 - none
    later = other * once / share - most * none if share < 1.0 else 0.0
    return own_tokens * once - growth_tokens * later


class _Elsewhere:
    """The same request at other providers."""

    __slots__ = ("_common", "_lifetimes_s", "_served", "_tokens")

    def __init__(self, record: Record, served: Candidate, tokens: ReportedTokens, common: SharedPrompt) -> None:
        self._lifetimes_s = dict(zip(record.order, record.ttls_s, strict=False))
        self._served = served
        self._tokens = tokens
        self._common = common

    def lifetime_s(self, candidate: Candidate) -> float:
        """Of its cache for this prompt; 0: it keeps nothing of it."""
        known_s = self._lifetimes_s.get(candidate.provider)
        if known_s is not None:
            return known_s
        if candidate.cache_fields.only_marked and not (self._common.shared_tokens > 0 or self._tokens.written):
            return 0.0
        return candidate.cache_ttl_s if candidate.caches and self._tokens.prompt >= candidate.min_tokens else 0.0

    def spread_usd(
        self,
        candidates: Sequence[Candidate],
        prices: Sequence[Price],
        cold_usd: Sequence[float],
        shares: Sequence[float],
        counts: Sequence[int],
    ) -> float:
        """Had each turn gone to one of these by chance; `counts`: how many each of them stands for; empty: one."""
        common, lifetimes_s = self._common, self._lifetimes_s
        head, growth = common.head_tokens, common.growth_tokens
        own = common.shared_tokens - head
        spread = known_s = 0.0
        most = 0
        for candidate, price, cold, share, count in zip(
            candidates, prices, cold_usd, shares, counts or repeat(1), strict=False
        ):
            if not share:
                continue
            lifetime_s = lifetimes_s.get(candidate.provider)
            if lifetime_s is None:
                lifetime_s = self.lifetime_s(candidate)
            if lifetime_s != known_s:  # mostly that of the one before
                known_s, most = lifetime_s, _turns_that_count(common, lifetime_s)
            warm: float = 0
            if lifetime_s > 0:
                warm = head + _warm_of_turns(own, growth, share, most) if most else head
            if price.cache_write == price.input and price.cache_write_long is None:  # nearly all
                spread += count * share * (cold - PER_MTOK * warm * (price.input - price.cache_read))
            else:
                spread += count * share * self.usd(candidate, price, cold, warm, lifetime_s)
        return spread

    def usd(self, candidate: Candidate, price: Price, cold_usd: float, warm_tokens: float, lifetime_s: float) -> float:
        """There, with so much of the prompt in its cache; the rest is written to it as far as it was here.

        `cold_usd`: with nothing of it there, and all of it written.
        """
        if price.cache_write == price.input and price.cache_write_long is None:
            return cold_usd - PER_MTOK * warm_tokens * (price.input - price.cache_read)
        tokens = self._tokens
        uncached = tokens.prompt - warm_tokens
        cost = uncached * price.input + warm_tokens * price.cache_read + tokens.output * price.output
        served = self._served
        wrote_nothing = tokens.written is None and candidate.provider == served.provider
        # What was charged as written was marked, and so was what is read where nothing else is cached.
        marked = bool(tokens.written) or (served.cache_fields.only_marked and bool(tokens.cached))
        if lifetime_s > 0 and not wrote_nothing and (marked or not candidate.cache_fields.free_unmarked):
            all_long = bool(tokens.written) and tokens.written_long == tokens.written
            write_price = price.long_write if all_long else price.cache_write
            if write_price != price.input:
                cost += max(0.0, uncached - _unwritten(tokens)) * (write_price - price.input)
        return PER_MTOK * cost


def _unwritten(tokens: ReportedTokens) -> int:
    """Of the prompt: what came after all that a cache keeps of it."""
    if tokens.written is None:
        return 0  # where a provider does not tell, its cache keeps all
    return tokens.prompt - (tokens.cached or 0) - tokens.written


def _may_choose(record: Record) -> bool:
    """Whether another rule could have sent it elsewhere: not where the client says where, or an object does."""
    return not record.reason.startswith(("bypass.", "pinned.", "sticky.within"))


def _was_kept_together(record: Record) -> bool:
    """Whether it was not spread anew in the first place."""
    return record.kind == "conversation" and not record.reason.startswith(("off.", "observe.", "stateless."))
