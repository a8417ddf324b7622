"""Sizes and times -> prompts made of blocks, as a replay takes them: what of each prompt has been sent before.

A log has no texts, so it is assumed that

- a turn of a conversation goes on from the whole prompt of the turn before if it is longer; if it is shorter, its
  history was cut, and only the system prompt is the same;
- requests for a model that have equally long system prompts have the same;
- nothing else is shared, so a request without a conversation finds no more than its system prompt.
"""

from collections.abc import Sequence
from itertools import count

from limpet_lab.plan.logged import LoggedRequest
from limpet_lab.replay.trace import BLOCK_TOKENS, TraceRow


def rows_of(requests: Sequence[LoggedRequest]) -> tuple[TraceRow, ...]:
    """The requests of one model, in the order of their times."""
    fresh = count()
    heads: dict[int, tuple[int, ...]] = {}
    before: dict[str, TraceRow] = {}
    rows: list[TraceRow] = []
    for request in requests:
        tokens, head = request.prompt_tokens, request.system_tokens
        if head not in heads:
            heads[head] = tuple(next(fresh) for _ in range(head // BLOCK_TOKENS))
        shared = heads[head][: tokens // BLOCK_TOKENS]
        last = before.get(request.conversation) if request.conversation else None
        if last is not None and tokens >= last.input_length:
            shared = last.hash_ids[: last.input_length // BLOCK_TOKENS]
        more = -(-tokens // BLOCK_TOKENS) - len(shared)
        blocks = (*shared, *(next(fresh) for _ in range(more)))
        row = TraceRow(request.at_s * 1000, tokens, request.output_tokens, blocks)
        rows.append(row)
        if request.conversation:
            before[request.conversation] = row
    return tuple(rows)
