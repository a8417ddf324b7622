"""What a success changes in the memory of a conversation: where it is warm, and how it goes on."""

from typing import Final

import msgspec

from limpet_extproc.memory import ConversationPace, Remembered, ServedTurn, Warm

MOST_COUNTED: Final = 20
"""Turns that an average is made of, nearly: from then on each further one counts for a twentieth."""

_NOTHING: Final = Remembered()


def paced(before: ConversationPace, turn: ServedTurn) -> ConversationPace:
    """After a further turn. One that began no later than the last one tells nothing of gaps, nor of growth."""
    turns = before.turns + 1
    output_tokens = before.output_tokens + (turn.output_tokens - before.output_tokens) / min(turns, MOST_COUNTED)
    if not before.turns:
        return ConversationPace(1, turn.started_s, 0.0, turn.prompt_tokens, 0.0, output_tokens, turn.cached_tokens)
    gap_s = turn.started_s - before.last_s
    if gap_s <= 0:
        return msgspec.structs.replace(before, turns=turns, output_tokens=output_tokens)
    grown_tokens = turn.prompt_tokens - before.prompt_tokens
    gaps = min(before.turns, MOST_COUNTED)
    return ConversationPace(
        turns,
        turn.started_s,
        before.gap_s + (gap_s - before.gap_s) / gaps,
        turn.prompt_tokens,
        before.growth_tokens + (grown_tokens - before.growth_tokens) / gaps,
        output_tokens,
        before.head_tokens,
    )


def with_warm(
    before: Remembered | None, warm: Warm, max_providers: int, now_s: float, turn: ServedTurn | None
) -> Remembered:
    """The memory after a success: this provider first, others while they are warm, `max_providers` at most."""
    if before is None:
        before = _NOTHING
    places: tuple[Warm, ...] = (warm,)
    if before.warm and (len(before.warm) > 1 or before.warm[0].provider != warm.provider):
        others = [w for w in before.warm if w.provider != warm.provider and w.until_s > now_s]
        places = (warm, *others)[:max_providers]
    if turn is None:
        return Remembered(places, pace=before.pace, cause=before.cause)
    return Remembered(places, None, None, paced(before.pace, turn), turn.cause)
