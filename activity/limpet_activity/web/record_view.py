"""One record as its page tells it: sentences, and numbers with what they are compared with."""

from collections.abc import Sequence

import msgspec

from limpet_activity.store.facts import has_failed
from limpet_activity.web.course import in_words, under_enforce, went_on_from, why_it_went
from limpet_activity.web.numbers import count, seconds
from limpet_activity.web.sentences import OUTCOMES, passed_over, what_became_of_the_read
from limpet_extproc.contract.activity import ActivityRecord, TriedProvider
from limpet_extproc.contract.reasons import ANSWERED


class TokenPart(msgspec.Struct, frozen=True):
    """A part of the bar of tokens."""

    name: str
    css: str
    tokens: int | None
    """None: not reported."""
    note: str = ""


class CostLine(msgspec.Struct, frozen=True):
    """What the request cost by one rule."""

    name: str
    usd: float
    note: str
    is_paid: bool = False


class CandidateLine(msgspec.Struct, frozen=True):
    """A provider of the model in the eyes of the decision."""

    provider: str
    served: bool
    warm_tokens: int | None
    warm_until_s: float
    usd: float | None
    passed_over: str


class AttemptLine(msgspec.Struct, frozen=True):
    """One attempt, as a sentence and as a stretch of time."""

    provider: str
    css: str
    text: str
    cause: str
    status: int
    begun_s: float | None
    took_s: float | None


class RecordView(msgspec.Struct, frozen=True):
    """What the page of a record shows."""

    record: ActivityRecord
    failed: bool
    outcome: str
    """A word or two on how it ended."""
    who: str
    why: str
    enforce: str
    """In mode Observe: what Enforce would have done."""
    read: str
    tokens: Sequence[TokenPart]
    expected_tokens: int | None
    """What the cache of the one that answered was expected to have."""
    token_bar: Sequence[tuple[str, float]]
    costs: Sequence[CostLine]
    saved_usd: float | None
    """Against the same request without a cache."""
    candidates: Sequence[CandidateLine]
    attempts: Sequence[AttemptLine]


def record_view(record: ActivityRecord) -> RecordView:
    """All of it."""
    saved = None
    if record.paid_usd is not None and record.uncached_usd is not None:
        saved = record.uncached_usd - record.paid_usd
    tokens = token_parts(record)
    return RecordView(
        record=record,
        failed=has_failed(record),
        outcome=outcome(record),
        who=who(record),
        why=why_it_went(record),
        enforce=under_enforce(record),
        read=what_became_of_the_read(record.cause, record.reason),
        tokens=tokens,
        expected_tokens=_expected_tokens(record),
        token_bar=[(part.css, float(part.tokens or 0)) for part in tokens],
        costs=cost_lines(record),
        saved_usd=saved,
        candidates=candidates(record),
        attempts=[_attempt(tried) for tried in record.attempts],
    )


def outcome(record: ActivityRecord) -> str:
    """How it ended, in a word or two."""
    if record.attempts and record.attempts[-1].outcome == "client_left":
        return "client left"
    if record.status == 0:
        return "no answer"
    if has_failed(record) and record.status < 400:
        return "broke off"
    return str(record.status)


def who(record: ActivityRecord) -> str:
    """Who served it, after how long."""
    took = f"{seconds(record.duration_s)} in all"
    first = f", {seconds(record.first_byte_s)} to the first {'token' if record.streamed else 'byte'}"
    first = first if record.first_byte_s is not None else ""
    if not record.provider:
        if record.attempts:
            return f"No provider answered: {len(record.attempts)} tried, {took}."
        asked_none = "The gateway answered itself" if record.reason.startswith(ANSWERED) else "No provider was asked"
        return f"{asked_none}: {took}."
    others = [tried for tried in record.attempts if tried.provider != record.provider]
    after = f" after {', '.join(dict.fromkeys(tried.provider for tried in others))} did not" if others else ""
    return f"{record.provider} answered{after}: {took}{first}."


def token_parts(record: ActivityRecord) -> list[TokenPart]:
    """Prompt and answer, by what was paid for them; none where nothing was reported."""
    parts = []
    prompt, read, written = record.prompt_tokens, record.cached_tokens or 0, record.written_tokens or 0
    if prompt is not None:
        read = min(max(read, 0), max(prompt, 0))
        written = min(max(written, 0), max(prompt, 0) - read)
        parts = [
            TokenPart("read from the cache", "t-read", None if record.cached_tokens is None else read),
            TokenPart("written to the cache", "t-written", None if record.written_tokens is None else written),
            TokenPart(_rest(record), "t-plain", max(prompt, 0) - read - written),
        ]
    if record.output_tokens is not None:
        thought = record.reasoning_tokens
        note = f"{count(thought)} of them reasoning" if thought else ""
        parts.append(TokenPart("answer", "t-output", max(record.output_tokens, 0), note))
    return parts


def _expected_tokens(record: ActivityRecord) -> int | None:
    if went_on_from(record) is None:
        return record.expected_tokens
    return next((each.warm_tokens for each in record.considered if each.provider == record.provider), None)


def _rest(record: ActivityRecord) -> str:
    """What the rest of a prompt is, as far as the provider reports the parts."""
    if record.cached_tokens is None:
        return "the rest of the prompt"
    return "not read from it" if record.written_tokens is None else "neither"


def cost_lines(record: ActivityRecord) -> list[CostLine]:
    """What was paid, and what it would have cost by other rules."""
    rules = (
        ("paid", record.paid_usd, "by its prices", True),
        ("without a cache", record.uncached_usd, "same provider", False),
        ("not sticky", record.spread_usd, "each turn spread anew", False),
        ("always cheapest", record.cheapest_usd, "lowest price list", False),
        ("Enforce", record.observed_usd, "where it would have sent it", False),
    )
    return [CostLine(name, usd, note, paid) for name, usd, note, paid in rules if usd is not None]


def candidates(record: ActivityRecord) -> list[CandidateLine]:
    """In the order in which they were to be tried, then those that were passed over."""
    return [
        CandidateLine(
            provider=each.provider,
            served=each.provider == record.provider,
            warm_tokens=each.warm_tokens,
            warm_until_s=each.warm_until_s,
            usd=each.usd,
            passed_over=passed_over(each.passed_over) if each.passed_over else "",
        )
        for each in record.considered
    ]


def _attempt(tried: TriedProvider) -> AttemptLine:
    text = OUTCOMES.get(tried.outcome, tried.outcome)
    return AttemptLine(
        provider=tried.provider,
        css={"ok": "good", "client_left": "odd", "refused": "odd"}.get(tried.outcome, "bad"),
        text=text if not tried.cause else f"{text}: {in_words(tried.cause)}",
        cause=tried.cause,
        status=tried.status,
        begun_s=tried.begun_s,
        took_s=tried.took_s,
    )
