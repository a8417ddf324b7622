"""Records as a store can keep them, whatever a worker hands over: no NaN, no NUL, no number that a database refuses."""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Final

from msgspec.structs import replace

from limpet_extproc.contract.activity import (
    ActivityRecord,
    ConsideredProvider,
    ProviderReport,
    ShownPrice,
    TriedProvider,
)

MOST_TOKENS: Final = 10**12
MOST_USD: Final = 1e6
MOST_S: Final = 1e7
"""Of a duration: some months."""

OLDEST_S: Final = 400 * 86_400
NEWEST_S: Final = 86_400
"""How far from now a record's time may be."""

_CLOCKS_S: Final = 43_200.0
"""Between two clocks of which both may be right: a batch may have been under way for long."""

_ID: Final = 128
_NAME: Final = 256
_TEXT: Final = 1_000
_MOST_PROVIDERS: Final = 64
_MOST_PRICES: Final = 256
_MOST_STATUS: Final = 999
_LATEST_S: Final = 1e11
"""Of the time until which a cache keeps a prompt."""

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def sanitized_record(record: ActivityRecord, now_s: float, later_s: float = 0.0) -> ActivityRecord | None:
    """The same with its numbers in range and its texts in one line; None: it has no id or no time, and is refused.

    `later_s`: what is added to a time that cannot be, see `shift_s`.
    """
    # Almost all are, and to see that takes a fifth of the time.
    return record if is_valid(record, now_s) else _sanitized(record, now_s, later_s)


def is_valid(record: ActivityRecord, now_s: float) -> bool:
    """Whether it can be kept as it is."""
    attempts, considered = record.attempts, record.considered
    if not (record.id and _can_be(record.time_s, now_s) and max(len(attempts), len(considered)) <= _MOST_PROVIDERS):
        return False
    words = [record.reason, record.conversation, record.enforce_reason, record.provider, record.enforce_provider]
    seconds = [record.duration_s, record.first_byte_s]
    dollars = [record.paid_usd, record.uncached_usd, record.spread_usd, record.cheapest_usd, record.observed_usd]
    tokens = [record.prompt_tokens, record.cached_tokens, record.written_tokens, record.output_tokens]
    tokens += (record.reasoning_tokens, record.expected_tokens)
    for tried in attempts:
        words.append(tried.provider)
        seconds += (tried.begun_s, tried.took_s)
        if not 0 <= tried.status <= _MOST_STATUS:
            return False
    for each in considered:
        words += (each.provider, each.passed_over)
        tokens.append(each.warm_tokens)
        dollars.append(each.usd)
        if not 0.0 <= each.warm_until_s <= _LATEST_S:
            return False
    return (
        0 <= record.status <= _MOST_STATUS
        and _are_words(words)
        and _are_lines(record)
        and _are_within(tokens, MOST_TOKENS)
        and _are_within(dollars, MOST_USD)
        and _are_within(seconds, MOST_S)
    )


def _are_words(words: list[str]) -> bool:
    """Whether `_word` would change none of them."""
    joined = "".join(words)
    return joined.isprintable() and " " not in joined and len(max(words, key=len)) <= _NAME


def _are_lines(record: ActivityRecord) -> bool:
    """Whether `text` would change none of the others."""
    lines = (
        record.id,
        record.gateway,
        record.tenant,
        record.client,
        record.policy,
        record.model,
        record.api,
        record.identified_by,
        record.cause,
        record.path,
        record.error,
        record.traceparent,
    )
    joined = "".join(lines)
    return (
        joined.isprintable()
        and len(max(lines, key=len)) <= _ID
        and (" " not in joined or all(line == line.strip() for line in lines))
    )


def _are_within(numbers: "Sequence[float | None]", most: float) -> bool:
    return all(number is None or 0 <= number <= most for number in numbers)


def _sanitized(record: ActivityRecord, now_s: float, later_s: float) -> ActivityRecord | None:
    identity = text(record.id, _ID)
    time_s = record.time_s if _can_be(record.time_s, now_s) else record.time_s + later_s
    if not identity or not _can_be(time_s, now_s):
        return None
    return replace(
        record,
        id=identity,
        time_s=time_s,
        gateway=text(record.gateway, _NAME),
        reason=_word(record.reason),
        status=_whole(record.status, _MOST_STATUS) or 0,
        duration_s=_number(record.duration_s, MOST_S) or 0.0,
        conversation=_word(record.conversation),
        tenant=text(record.tenant, _NAME),
        client=text(record.client, _NAME),
        policy=text(record.policy, _NAME),
        model=text(record.model, _NAME),
        api=text(record.api, _NAME),
        identified_by=text(record.identified_by, _NAME),
        enforce_reason=_word(record.enforce_reason),
        provider=_word(record.provider),
        attempts=[_tried(each) for each in record.attempts[:_MOST_PROVIDERS]],
        considered=[_considered(each) for each in record.considered[:_MOST_PROVIDERS]],
        first_byte_s=_number(record.first_byte_s, MOST_S),
        prompt_tokens=_whole(record.prompt_tokens, MOST_TOKENS),
        cached_tokens=_whole(record.cached_tokens, MOST_TOKENS),
        written_tokens=_whole(record.written_tokens, MOST_TOKENS),
        output_tokens=_whole(record.output_tokens, MOST_TOKENS),
        reasoning_tokens=_whole(record.reasoning_tokens, MOST_TOKENS),
        expected_tokens=_whole(record.expected_tokens, MOST_TOKENS),
        cause=text(record.cause, _NAME),
        paid_usd=_number(record.paid_usd, MOST_USD),
        uncached_usd=_number(record.uncached_usd, MOST_USD),
        spread_usd=_number(record.spread_usd, MOST_USD),
        cheapest_usd=_number(record.cheapest_usd, MOST_USD),
        path=text(record.path, _NAME),
        error=text(record.error, _TEXT),
        traceparent=text(record.traceparent, _NAME),
        observed_usd=_number(record.observed_usd, MOST_USD),
        enforce_provider=_word(record.enforce_provider),
    )


def _can_be(time_s: float, now_s: float) -> bool:
    return isfinite(time_s) and now_s - OLDEST_S <= time_s <= now_s + NEWEST_S


def shift_s(sent_s: float, now_s: float) -> float:
    """What is added to times that cannot be, of a batch that was sent now by its sender's clock.

    Whichever of both clocks is far off, its records are kept, in their order and about now.
    """
    off_s = now_s - sent_s
    return off_s if sent_s > 0 and isfinite(sent_s) and abs(off_s) > _CLOCKS_S else 0.0


def sanitized_report(report: ProviderReport, now_s: float) -> ProviderReport | None:
    """The same with its numbers in range; None: it names no provider."""
    name = _word(report.provider)
    if not name:
        return None
    return replace(
        report,
        provider=name,
        verdict=_word(report.verdict),
        cause=_word(report.cause),
        since_s=_moment(report.since_s, now_s),
        first_token_s=_number(report.first_token_s, MOST_S),
        tokens_per_s=_number(report.tokens_per_s, MOST_S),
        warm_conversations=_whole(report.warm_conversations, MOST_TOKENS),
        prices=[_price(each, now_s) for each in report.prices[:_MOST_PRICES]],
    )


def text(value: str, most: int) -> str:
    """In one line, without control characters, and not longer than that."""
    if value.isprintable() and len(value) <= most and value == value.strip():
        return value  # As almost all are.
    return _UNSAFE.sub(" ", value[: 2 * most]).strip()[:most].strip()


def _word(value: str) -> str:
    return text(value, _NAME).replace(" ", "_")


def _number(value: float | None, most: float) -> float | None:
    """None for what is no number; else within its range."""
    if value is None or 0.0 <= value <= most:
        return value
    return None if value != value else min(max(value, 0.0), most)


def _whole(value: int | None, most: int) -> int | None:
    return None if value is None else min(max(value, 0), most)


def _moment(value: float, now_s: float) -> float:
    return value if isfinite(value) and 0.0 <= value <= now_s + OLDEST_S else 0.0


def _tried(tried: TriedProvider) -> TriedProvider:
    return replace(
        tried,
        provider=_word(tried.provider),
        status=_whole(tried.status, _MOST_STATUS) or 0,
        begun_s=_number(tried.begun_s, MOST_S),
        took_s=_number(tried.took_s, MOST_S),
    )


def _considered(considered: ConsideredProvider) -> ConsideredProvider:
    return ConsideredProvider(
        _word(considered.provider),
        _word(considered.passed_over),
        _whole(considered.warm_tokens, MOST_TOKENS),
        _number(considered.usd, MOST_USD),
        _number(considered.warm_until_s, _LATEST_S) or 0.0,
    )


def _price(price: ShownPrice, now_s: float) -> ShownPrice:
    return replace(
        price,
        model=text(price.model, _NAME),
        input=_number(price.input, MOST_USD) or 0.0,
        output=_number(price.output, MOST_USD) or 0.0,
        cache_read=_number(price.cache_read, MOST_USD) or 0.0,
        cache_write=_number(price.cache_write, MOST_USD) or 0.0,
        window=text(price.window, _NAME),
        until_s=_moment(price.until_s, now_s),
    )


def sanitized_moment(value: float, now_s: float) -> float:
    """When something was, as its sender says it: now, if that cannot be."""
    return value if isfinite(value) and now_s - OLDEST_S <= value <= now_s + NEWEST_S and value > 0 else now_s


def unique(records: Sequence[ActivityRecord]) -> list[ActivityRecord]:
    """Each id once, the first of them."""
    return list({record.id: record for record in reversed(records)}.values())[::-1]
