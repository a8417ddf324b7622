"""Why a request read from a prompt cache what it read: its answer's usage against the evidence of its decision. Pure.

A cause is named only where the evidence leaves no other; where it is missing or contradicts what was read, the cause is
`unknown`. docs/cache-causes.md says what each word means.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.reasons import CacheCause
from limpet_extproc.contract.record import CacheEvidence, Record

ROUNDED_TOKENS: Final = 256 + 16
"""By which a read may fall short of all that is cached and still be all of it. Vendors store whole blocks: 64 tokens
(DeepSeek's older guide), 128 (OpenAI up to 5.5, xAI, Groq), 256 (Moonshot, and the counts that DeepSeek's users
publish); the end of a prompt, a few tokens that begin the answer, is never part of the next one."""

ESTIMATE_SHARE: Final = 0.3
"""By which an estimated number of tokens may be wrong: prose has 4 bytes a token, code and JSON 2 to 3, and one prompt
may hold both."""

NEAR_END_S: Final = 5.0
"""So shortly before the end of a lifetime a miss may be its end: clocks differ, and a request takes its time to get
there."""


class CacheFinding(msgspec.Struct, frozen=True, gc=False):
    """What became of the read that a request could expect."""

    cause: CacheCause
    detail: str = ""
    """Of `partial`: the tokens that were read; of `prefix_changed`: where; of `provider_switched`: why."""

    def __str__(self) -> str:
        """As `prefix_changed(message 3)`."""
        return f"{self.cause}({self.detail})" if self.detail else self.cause


_HIT: Final = CacheFinding("hit")
_UNKNOWN: Final = CacheFinding("unknown")


class _CacheRead(msgspec.Struct, frozen=True, gc=False):
    """What an answer says, beside what was expected of it; all but `expected` in tokens as the provider counts."""

    evidence: CacheEvidence
    tokens: int
    """That were read from the cache."""
    prompt: int
    left: int
    """What the last turn left in its provider's cache."""
    expected: int
    """What this provider's cache should have of the prompt, estimated."""
    min_tokens: int
    """The shortest prompt that this provider caches."""
    scale: float
    """What an estimated token is counted as."""

    def is_within(self, estimated: int) -> bool:
        """Whether no more was read than these."""
        return self.tokens <= self.scale * (1 + ESTIMATE_SHARE) * estimated + ROUNDED_TOKENS

    def covers(self, estimated: int) -> bool:
        """Whether these were read, or as good as all."""
        return self.tokens >= self.scale * (1 - ESTIMATE_SHARE) * estimated - ROUNDED_TOKENS


def cause_of(
    record: Record, attempts: Sequence[Attempt], prompt_tokens: int, cached_tokens: int | None
) -> CacheFinding | None:
    """The cause for a request that the last of these attempts answered; None where a cache has no part in it.

    `prompt_tokens` and `cached_tokens` as that provider reported them, the latter None if it did not.
    """
    provider, evidence = attempts[-1].provider, record.cache
    if record.kind != "conversation" or not record.learn or provider not in record.order:
        return None
    at = record.order.index(provider)
    hindered = _hindered(evidence, at, prompt_tokens)
    if record.ttls_s[at] <= 0 and hindered is None and evidence.before in ("", provider):
        return None  # it keeps no prompts, or reading them saves nothing
    if cached_tokens is None:
        return CacheFinding("unreported")
    if not evidence.expected:
        return _UNKNOWN  # another version decided
    if hindered is not None and not cached_tokens and evidence.before in ("", provider):
        return hindered
    scale = min(max(prompt_tokens / max(record.prompt_tokens, 1), 0.5), 2.0)  # else the prompt has more than the body
    left = evidence.before_tokens
    if left and provider != evidence.before and evidence.compared:  # which may count in other tokens
        left = prompt_tokens if evidence.changed_at else int(scale * evidence.shared_tokens)
    read = _CacheRead(
        evidence,
        cached_tokens,
        prompt_tokens,
        min(left, prompt_tokens),
        evidence.expected[at],
        evidence.min_tokens[at] if evidence.min_tokens else 0,
        scale,
    )
    if not evidence.before:
        parallel = bool(evidence.parallel) and evidence.parallel[at]
        return _without_memory(read, over=0 < evidence.before_until_s <= record.started_s, parallel=parallel)
    return _with_memory(read, record, attempts)


def _hindered(evidence: CacheEvidence, at: int, prompt_tokens: int) -> CacheFinding | None:
    """Why this provider's cache has no part of the prompt whatever came before."""
    if evidence.min_tokens and prompt_tokens < evidence.min_tokens[at]:
        return CacheFinding("below_minimum")
    if evidence.no_breakpoint and evidence.no_breakpoint[at]:
        return CacheFinding("no_breakpoint")
    return None


def _without_memory(read: _CacheRead, *, over: bool, parallel: bool) -> CacheFinding:
    """Of a conversation of which no turn is remembered, or, if it is `over`, none that any cache still has."""
    if over and read.covers(read.expected) and read.is_within(read.expected):
        return CacheFinding("ttl_expired")
    added = read.scale * read.evidence.added_tokens
    if read.evidence.goes_on and (1 + ESTIMATE_SHARE) * (read.prompt - added) >= read.min_tokens:
        # Else a turn of this model before it was too short to be remembered, and there is nothing to miss.
        if read.evidence.model_before and not read.tokens:
            return CacheFinding("model_changed")
        rest = (1 + ESTIMATE_SHARE) * added + ROUNDED_TOKENS
        return _HIT if read.tokens and read.prompt - read.tokens <= rest else _UNKNOWN
    if read.tokens and read.covers(read.expected):
        return _HIT
    if parallel:
        return CacheFinding("parallel_first")
    if read.covers(read.expected):
        return CacheFinding("cold_start")  # nothing, or too little to be sure
    # Another conversation has brought it there, which may have asked for something else with it.
    return CacheFinding("partial", str(read.tokens)) if read.tokens else _UNKNOWN


def _with_memory(read: _CacheRead, record: Record, attempts: Sequence[Attempt]) -> CacheFinding:
    """Of a conversation whose last turn is remembered."""
    evidence = read.evidence
    if read.tokens and read.tokens + ROUNDED_TOKENS >= read.left:
        return _HIT
    if not evidence.before_tokens:
        return CacheFinding("cold_start")
    switched = attempts[-1].provider != evidence.before
    if record.started_s >= evidence.before_until_s:
        # Else some of what others have used since is gone too, or some of it has lived on for a reason nobody knows.
        over = read.covers(read.expected) and read.is_within(read.expected)
        return CacheFinding("ttl_expired") if over else _UNKNOWN
    if not switched:
        return _at_the_same(read, record)
    if evidence.compared and evidence.changed_at and evidence.shared_tokens <= ROUNDED_TOKENS:
        # Nothing of it was there to be read, unless the same was only written otherwise.
        return CacheFinding("prefix_changed", evidence.changed_at) if evidence.asked_alike else _UNKNOWN
    if not read.covers(read.expected):
        return _UNKNOWN  # this one should have had more itself
    return CacheFinding("provider_switched", _why_switched(record, attempts))


def _at_the_same(read: _CacheRead, record: Record) -> CacheFinding:
    """Of a read that fell short at the provider of the last turn."""
    evidence = read.evidence
    if not evidence.compared:
        return _UNKNOWN
    if evidence.changed_at:
        # Where all before the change was read, nothing else of the request can have mattered.
        shared = evidence.shared_tokens
        only = evidence.asked_alike or (shared > ROUNDED_TOKENS and read.covers(shared))
        if only and read.covers(read.expected) and read.is_within(evidence.changed_tokens):
            return CacheFinding("prefix_changed", evidence.changed_at)
        return _UNKNOWN  # that explains neither a read of what comes behind the change, nor none of what comes before
    if read.left <= ROUNDED_TOKENS:
        return _UNKNOWN  # perhaps less than the vendor stores at all
    if not evidence.asked_alike or record.started_s > evidence.before_until_s - NEAR_END_S:
        return _UNKNOWN
    return CacheFinding("partial", str(read.tokens)) if read.tokens else CacheFinding("provider_side")


def _why_switched(record: Record, attempts: Sequence[Attempt]) -> str:
    """What the provider of the last turn answered if it was asked, else why it was not."""
    failed = (each.cause for each in attempts[:-1] if each.provider == record.cache.before)
    return next(failed, "") or record.reason
