"""An explanation for people: sentences, and a table of what each provider costs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_extproc.contract.explanation import (
    ExplainedCandidate,
    ExplainedEdits,
    ExplainedMemory,
    ExplainedPrompt,
    Explanation,
)

WHY: Final = {
    "sticky.hit": "the conversation is warm there, and staying costs least",
    "sticky.pending": "the conversation's first request is on its way there",
    "sticky.within": "among those that the client names, the conversation is warm there",
    "sticky.returned": "it is warm there from before, and going back costs less than staying",
    "sticky.moved.cheaper": "what is to come costs so much less there that leaving the warm cache pays",
    "sticky.expired": "the conversation was warm, but its cache has run out",
    "sticky.left.degraded": "the warm provider fails or is slow too often",
    "sticky.left.down": "the warm provider is down",
    "sticky.left.failed": "the warm provider failed the conversation's last request",
    "sticky.left.over_limit": "the warm provider is over its limit",
    "sticky.left.not_candidate": "the warm provider no longer serves this model",
    "first.scored": "a new conversation: it is expected to cost least there, or as good as",
    "first.warm_head": "a new conversation that begins as others do, and their beginning is warm there",
    "bypass.order": "the client says so: provider.order",
    "bypass.only": "the client says so: provider.only",
    "bypass.ignore": "the client says so: provider.ignore",
    "bypass.sort": "the client says by what to sort: provider.sort",
    "bypass.allow_fallbacks": "the client allows no fallback",
    "off.spread": "mode Off: spread among near-equals",
    "observe.spread": "mode Observe: spread among near-equals, as if nothing were remembered",
    "stateless.spread": "a request without a conversation: spread among near-equals",
    "pinned.object": "what it goes on from lives at that provider alone",
    "placed.object": "all that a client makes is kept at one provider",
    "last_resort.all_out": "every provider is out; they are tried all the same",
    "unsticky.no_cache": "the provider keeps no prompt cache, so there is nothing to stay for",
    "unsticky.below_minimum": "the prompt is shorter than what the provider caches",
    "unsticky.no_breakpoint": "the provider caches only what is marked, and nothing is",
    "unsticky.no_discount": "reading from the cache costs as much as reading without",
}
"""By `DecisionReason`."""

_NOT_KEPT: Final = {
    "no_conversation": "the API has no conversations",
    "mode_off": "the policy's mode is Off",
    "client_steers": "the client chooses itself",
}


def shown(told: Explanation) -> Iterator[str | Table]:
    """What to print, in its order."""
    yield from _headline(told)
    yield ""
    if told.identity is not None:
        by = told.identity.identified_by
        hint = "; its opening seems to change from turn to turn" if told.identity.unrecognised else ""
        yield f"conversation  {told.identity.key}, recognised by {by or 'nothing: this API has none'}{hint}"
    yield f"request       {told.api}, model {told.model or '(none)'}{_policy(told)}"
    if told.prompt is not None:
        yield f"prompt        {_prompt(told.prompt)}"
    if told.identity is not None and told.refused is None:
        yield f"memory        {_memory(told.memory, told)}"
    if told.outlook is not None:
        each = told.outlook
        yield (
            f"expected      {each.further_turns:.1f} more turns, one in {each.gap_s:,.0f} s, each "
            f"{each.growth_tokens:,.0f} tokens longer, answers as long"
        )
    if told.problems:
        yield f"wrong         {told.problems}"
    if told.candidates:
        yield _table(told)
        yield from _notes(told)
    yield from _afterwards(told)
    if told.left_out:
        yield f"left out      {told.left_out}"


def _headline(told: Explanation) -> Iterator[str]:
    if told.refused is not None:
        yield f"It would be refused: {told.refused.status} {told.refused.reason}"
        yield told.refused.message
        return
    first, *others = told.order or ("nobody",)
    yield f"It would go to {first}: {WHY.get(told.reason, told.reason)} ({told.reason})."
    if told.enforce_reason:
        why = WHY.get(told.enforce_reason, told.enforce_reason)
        yield f"Enforce would have sent it to {told.enforce_provider}: {why} ({told.enforce_reason})."
    if others:
        yield f"Should that fail: {', '.join(others)}."


def _policy(told: Explanation) -> str:
    return f", policy {told.policy} ({told.mode})" if told.mode else ""


def _prompt(prompt: ExplainedPrompt) -> str:
    parts = [f"about {prompt.tokens:,} tokens"]
    if prompt.boundaries:
        parts.append(f"{prompt.boundaries} boundaries")
    if prompt.changed_at:
        parts.append(f"departs from the last turn at {prompt.changed_at}")
    elif prompt.compared:
        parts.append("begins with all of the last turn")
    return f"{', '.join(parts)}; an answer of {prompt.output_tokens:,} is expected"


def _memory(memory: ExplainedMemory | None, told: Explanation) -> str:
    if memory is None:
        return "nothing is remembered"
    parts = [
        f"{each.provider} {'until ' if not each.over else 'no more since '}{_clock(each.until_s)}, "
        f"{each.tokens:,} tokens"
        for each in memory.places
    ]
    if memory.pending:
        parts.append(f"on its way to {memory.pending}")
    if memory.failed:
        parts.append(f"failed lately: {', '.join(memory.failed)}")
    if memory.turns:
        parts.append(f"{memory.turns} {'turn' if memory.turns == 1 else 'turns'} so far")
    if memory.last_read:
        parts.append(f"last read: {memory.last_read}")
    return "; ".join(parts) or "nothing is warm"


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S UTC")


def _table(told: Explanation) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("")
    table.add_column("provider")
    for name in (
        "warm tokens",
        "read",
        "write",
        "uncached",
        "answer",
        "this request",
        "from here on",
        "factor",
        "score",
    ):
        table.add_column(name, justify="right")
    table.add_column("")
    for each in told.candidates:
        ahead = None if each.stays_usd is None or each.leaves_usd is None else min(each.stays_usd, each.leaves_usd)
        table.add_row(
            str(each.place or ""),
            each.provider,
            f"{each.warm_tokens:,}" if each.warm_tokens else "",
            *(
                _usd(part) if part else ""
                for part in (each.read_usd, each.write_usd, each.uncached_usd, each.output_usd)
            ),
            _usd(each.request_usd),
            _usd(ahead),
            f"×{each.factor:.2f}" if each.factor != 1.0 else "",
            _usd(each.score),
            _remark(each),
        )
    return table


def _usd(dollars: float | None) -> str:
    return "" if dollars is None else f"${dollars:.6f}"


def _remark(each: ExplainedCandidate) -> str:
    parts = [each.passed_over, "" if each.trouble == each.passed_over else each.trouble]
    if each.coming:
        parts.append("coming")
    elif each.warm_until_s:
        parts.append(f"warm until {_clock(each.warm_until_s)}")
    if not each.priced:
        parts.append("price unknown")
    if each.near:
        parts.append("near-equal")
    parts.append(each.unsticky)
    return ", ".join(part for part in parts if part)


def _notes(told: Explanation) -> Iterator[str]:
    if told.margin:
        yield f"A warm conversation moves only where it is at least {told.margin:.0%} cheaper from here on."
    if any(each.near for each in told.candidates):
        yield "Near-equals are spread over conversations, the cheaper and weightier ones getting more."
    for each in told.candidates:
        if each.edits is not None:
            yield f"{each.provider} gets another body: {_edits(each.edits)}."


def _edits(edits: ExplainedEdits) -> str:
    parts = [f"model named {edits.model}"] if edits.model else []
    parts += [f"without {', '.join(edits.removed)}"] if edits.removed else []
    parts += [f"with {', '.join(edits.added)}"] if edits.added else []
    return "; ".join(parts) or "changed"


def _afterwards(told: Explanation) -> Iterator[str]:
    if told.sending is not None and told.sending.hold_s:
        yield f"It may wait up to {told.sending.hold_s:g} s for another request with the same beginning."
    if told.sending is not None and told.sending.save_cache_s:
        yield f"If the first is limited, it may be waited for up to {told.sending.save_cache_s:g} s."
    if told.keeping is None:
        return
    if told.keeping.provider:
        yield f"Answered, it would be remembered at {told.keeping.provider} for {told.keeping.for_s:g} s."
    else:
        why = told.keeping.why_not
        yield f"Nothing would be remembered: {_NOT_KEPT.get(why, WHY.get(why, why))}."
