"""The requests of a trace with what they have in common: each block of a prompt by all that comes before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from limpet_lab.replay.trace import TraceRow

_ROOT: Final = -1


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    number: int
    """Its place in the trace."""
    at_s: float
    """Unix time on the virtual clock."""
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    """Of the prompt, each by a number that stands for it and all before it."""
    messages: tuple[int, ...]
    """Of the prompt: up to which of its blocks each goes."""
    has_system: bool
    """Whether the first message is a system prompt, which others share."""
    before: int
    """The last request of the same conversation; -1: it is the first one."""

    @property
    def conversation(self) -> int:
        """What names its conversation: its beginning up to the end of the first message of the user."""
        opening = min(1 if self.has_system else 0, len(self.messages) - 1)
        return self.blocks[self.messages[opening] - 1]


@dataclass(frozen=True, slots=True)
class _Forest:
    """All prompts by their blocks."""

    prompts: tuple[tuple[int, ...], ...]
    parents: tuple[int, ...]
    cuts: frozenset[int]
    """Blocks with which some message ends: a prompt ends there, or prompts go on differently."""
    heads: frozenset[int]
    """Blocks with which a system prompt ends: several conversations go on from it."""


def asks_of(rows: Sequence[TraceRow], begin_s: float) -> tuple[Ask, ...]:
    """The requests of a trace that begins at this Unix time.

    A trace has no messages and no names of conversations. Messages end where prompts do, and where they go on
    differently. What several prompts go on from is a system prompt, and what begins with the same first message of
    the user a conversation, as for a gateway that knows it by that.
    """
    forest = _forest(rows)
    latest: dict[int, int] = {}
    asks: list[Ask] = []
    for number, (row, blocks) in enumerate(zip(rows, forest.prompts, strict=True)):
        at_s = begin_s + (row.timestamp - rows[0].timestamp) / 1000
        system = next((place for place, block in enumerate(blocks[:-1], 1) if block in forest.heads), 0)
        ends = [place for place in range(max(1, system), len(blocks)) if blocks[place - 1] in forest.cuts]
        ask = Ask(
            number, at_s, row.input_length, row.output_length, blocks, (*ends, len(blocks)), system > 0, before=_ROOT
        )
        asks.append(msgspec.structs.replace(ask, before=latest.get(ask.conversation, _ROOT)))
        latest[ask.conversation] = number
    return tuple(asks)


def _forest(rows: Sequence[TraceRow]) -> _Forest:
    numbers: dict[tuple[int, int], int] = {}
    parents: list[int] = []
    prompts: list[tuple[int, ...]] = []
    for row in rows:
        before, blocks = _ROOT, []
        for hash_id in row.hash_ids:
            block = numbers.setdefault((before, hash_id), len(parents))
            if block == len(parents):
                parents.append(before)
            blocks.append(block)
            before = block
        prompts.append(tuple(blocks))
    # A prompt's last block is mostly a part of one, with which the next turn does not go on.
    inner = set(parents)
    nexts: dict[int, int] = {}
    inner_nexts: dict[int, int] = {}
    for block, parent in enumerate(parents):
        nexts[parent] = nexts.get(parent, 0) + 1
        inner_nexts[parent] = inner_nexts.get(parent, 0) + (block in inner)
    ends = {blocks[-1] for blocks in prompts}
    cuts = ends | {block for block, number in nexts.items() if number > 1}
    heads = {block for block, number in inner_nexts.items() if number > 1}
    return _Forest(tuple(prompts), tuple(parents), frozenset(cuts - {_ROOT}), frozenset(heads - {_ROOT}))
