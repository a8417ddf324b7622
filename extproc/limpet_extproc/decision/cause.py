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


def cause_of(
    record: Record, attempts: Sequence[Attempt], prompt_tokens: int, cached_tokens: int | None
) -> CacheFinding | None:
    """The cause for a request that the last of these attempts answered; None where a cache has no part in it.

    `prompt_tokens` and `cached_tokens` as that provider reported them, the latter None if it did not.
    """
    provider = attempts[-1].provider
    if record.kind != "conversation" or not record.learn or provider not in record.order:
        return None
    at, evidence = record.order.index(provider), record.cache
    hindered = _hindered(evidence, at)
    if record.ttls_s[at] <= 0 and hindered is None and evidence.before in ("", provider):
        return None  # it keeps no prompts, or reading them saves nothing
    if cached_tokens is None:
        return CacheFinding("unreported")
    if not evidence.expected:
        return _UNKNOWN  # another version decided
    expected = evidence.expected[at]
    if not evidence.before:
        return _without_memory(evidence, prompt_tokens, cached_tokens, expected, hindered)
    left = min(evidence.before_tokens, prompt_tokens)
    if cached_tokens and cached_tokens + ROUNDED_TOKENS >= left:
        return _HIT
    if record.started_s >= evidence.before_until_s:
        over = _of_one_that_is_over(provider != evidence.before, cached_tokens, expected)
        return over or _at_the_same(record, left, cached_tokens, expected, hindered)
    if provider == evidence.before:
        return _at_the_same(record, left, cached_tokens, expected, hindered)
    if evidence.compared and evidence.changed_at and evidence.shared_tokens <= ROUNDED_TOKENS:
        return CacheFinding("prefix_changed", evidence.changed_at)  # nothing of it was there to be read
    return CacheFinding("provider_switched", _why_switched(record, attempts))


_HIT: Final = CacheFinding("hit")
_UNKNOWN: Final = CacheFinding("unknown")


def _hindered(evidence: CacheEvidence, at: int) -> CacheFinding | None:
    """Why this provider's cache has no part of the prompt whatever came before."""
    if evidence.below_minimum and evidence.below_minimum[at]:
        return CacheFinding("below_minimum")
    if evidence.no_breakpoint and evidence.no_breakpoint[at]:
        return CacheFinding("no_breakpoint")
    return None


def _why_switched(record: Record, attempts: Sequence[Attempt]) -> str:
    """What the provider of the last turn answered if it was asked, else why it was not."""
    failed = (each.cause for each in attempts[:-1] if each.provider == record.cache.before)
    return next(failed, "") or record.reason


def _at_most(tokens: int) -> int:
    """What may be reported where so many are estimated or cached."""
    return int(tokens * (1 + ESTIMATE_SHARE)) + ROUNDED_TOKENS


def _of_one_that_is_over(switched: bool, read: int, expected: int) -> CacheFinding | None:
    """Of a conversation whose time at its provider was over; None if more was read than that allows."""
    if expected > _at_most(read):
        return _UNKNOWN  # some of it should be left, as another conversation has used it since
    if read <= _at_most(expected):
        return CacheFinding("ttl_expired")
    return _UNKNOWN if switched else None


def _at_the_same(record: Record, left: int, read: int, expected: int, hindered: CacheFinding | None) -> CacheFinding:
    """Of a read that fell short at the provider of the last turn, whose cache should have more than that.

    `left`: by the last turn.
    """
    evidence = record.cache
    if hindered is not None and not read:
        return hindered
    if not evidence.compared:
        return _UNKNOWN
    if evidence.changed_at:
        if read > _at_most(evidence.changed_tokens) or expected > _at_most(read):
            return _UNKNOWN  # the change explains neither what was read behind it nor what was not read before it
        return CacheFinding("prefix_changed", evidence.changed_at)
    if left <= ROUNDED_TOKENS:
        return _UNKNOWN  # it may be less than what the vendor stores at all
    if read:
        return CacheFinding("partial", str(read))
    if record.started_s > evidence.before_until_s - NEAR_END_S:
        return _UNKNOWN
    return CacheFinding("provider_side")


def _without_memory(
    evidence: CacheEvidence, prompt_tokens: int, read: int, expected: int, hindered: CacheFinding | None
) -> CacheFinding:
    """Of a conversation of which no turn is remembered."""
    if hindered is not None and not read:
        return hindered
    if evidence.model_before and not read:
        return CacheFinding("model_changed")
    if evidence.goes_on:
        all_but_new = read and prompt_tokens - read <= _at_most(evidence.added_tokens)
        return _HIT if all_but_new else _UNKNOWN
    if expected > ROUNDED_TOKENS:
        if _at_most(read) >= expected:
            return _HIT
        if evidence.parallel:
            return CacheFinding("parallel_first")
        return CacheFinding("partial", str(read)) if read else CacheFinding("provider_side")
    if read:
        return _HIT
    return CacheFinding("parallel_first" if evidence.parallel else "cold_start")
