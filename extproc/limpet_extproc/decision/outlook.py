"""How a conversation is expected to go on, from how it went so far. docs/worth.md has the reasons."""

from typing import Final

import msgspec

from limpet_extproc.decision.price import DEFAULT_OUTPUT_TOKENS
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.decision.worth import Outlook
from limpet_extproc.memory import ConversationPace, Remembered

MOST_TURNS: Final = 100
"""A conversation that is longer is expected to go on as one of this length."""

USUAL_GAP_S: Final = 300.0
"""Of a conversation whose pace is unknown: three of four turns come within five minutes of the one before, as in a
trace of a real chat service (Mooncake, 2024)."""

UNKNOWN_PACE: Final = ConversationPace()


def outlook_of(query: Query, pace: ConversationPace, now_s: float) -> Outlook:
    """A conversation is expected to go on for nearly as many turns as it has had, this one included.

    The first is followed by another in a third of them, as in that trace. Gaps, growth and answers are as they were;
    the usual gap counts as one of them, so that a few do not decide alone.
    """
    served = pace.turns or (1 if query.has_history else 0)
    turns = min(served + 1, MOST_TURNS)
    output = float(output_tokens(query, pace))
    gap_s, growth = USUAL_GAP_S, output
    if pace.turns:
        gaps = min(pace.turns - 1, MOST_TURNS)
        gap_s = (USUAL_GAP_S + gaps * pace.gap_s + max(0.0, now_s - pace.last_s)) / (gaps + 2)
        if pace.turns > 1:
            growth = max(0.0, pace.growth_tokens)
    return Outlook(float(query.prompt_tokens), output, (turns - 0.5) / (turns + 0.5), gap_s, growth, now_s)


def output_tokens(query: Query, pace: ConversationPace) -> int:
    """Of the answer that is expected: as many as those before had, unless the client sets a limit below the usual."""
    known = round(pace.output_tokens) if query.output_tokens >= DEFAULT_OUTPUT_TOKENS else 0
    return known or query.output_tokens


def as_remembered(query: Query, remembered: Remembered | None, warmth: Warmth) -> Query:
    """The same with the lengths of its prompt and its answer by what the conversation's turns had."""
    prompt = warmth.prompt_tokens or query.prompt_tokens
    output = query.output_tokens if remembered is None else output_tokens(query, remembered.pace)
    if prompt == query.prompt_tokens and output == query.output_tokens:
        return query
    return msgspec.structs.replace(query, prompt_tokens=prompt, output_tokens=output)
