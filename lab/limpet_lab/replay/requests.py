"""The requests of a trace with what they have in common: each block of a prompt by all that comes before it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import msgspec

from limpet_lab.replay.trace import BLOCK_TOKENS, TraceRow

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
    """Of the prompt: up to which of its tokens each goes."""
    has_system: bool
    """Whether the first message is a system prompt, which others share."""
    conversation: int
    """What names its conversation: its beginning up to the end of the first message of the user, by the last block."""
    before: int
    """The last request of the same conversation; -1: it is the first one."""


@dataclass(frozen=True, slots=True)
class Asks:
    """The requests of a trace, in the order of their times."""

    all: tuple[Ask, ...]
    tails: Mapping[int, tuple[int, int]]
    """Blocks that begin with the end of an earlier prompt: which block ends that one, and with how many tokens."""


@dataclass(frozen=True, slots=True)
class _Forest:
    """All prompts by their blocks."""

    prompts: tuple[tuple[int, ...], ...]
    tails: Mapping[int, tuple[int, int]]
    cuts: frozenset[int]
    """Blocks with which some message ends: a prompt ends there, or prompts go on differently."""
    heads: frozenset[int]
    """Blocks with which a system prompt ends: several conversations go on from it."""


def asks_of(rows: Sequence[TraceRow], begin_s: float) -> Asks:
    """The requests of a trace that begins at this Unix time.

    A trace has no messages and no names of conversations. Messages end where prompts do, and where they go on
    differently. What several prompts go on from is a system prompt, and what begins with the same first message of
    the user a conversation, as for a gateway that knows it by that.

    A prompt's last block is mostly a part of one, and the next turn has another one in its place, which begins with the
    same text.
    """
    forest = _forest(rows)
    latest: dict[int, int] = {}
    asks: list[Ask] = []
    for number, (row, blocks) in enumerate(zip(rows, forest.prompts, strict=True)):
        at_s = begin_s + (row.timestamp - rows[0].timestamp) / 1000
        system = next((place for place, block in enumerate(blocks[:-1], 1) if block in forest.heads), 0)
        ends = [*_ends(blocks, system, forest), (row.input_length, blocks[-1])]
        conversation = ends[min(1 if system else 0, len(ends) - 1)][1]
        messages = tuple(tokens for tokens, _ in ends)
        before = latest.get(conversation, _ROOT)
        asks.append(
            Ask(number, at_s, row.input_length, row.output_length, blocks, messages, system > 0, conversation, before)
        )
        latest[conversation] = number
    return Asks(tuple(asks), forest.tails)


def _ends(blocks: tuple[int, ...], system: int, forest: _Forest) -> Iterator[tuple[int, int]]:
    """Where messages end before the last one: after how many tokens, and with which block, or with which tail."""
    for place in range(max(1, system), len(blocks)):
        if blocks[place - 1] in forest.cuts:
            yield place * BLOCK_TOKENS, blocks[place - 1]
        tail = forest.tails.get(blocks[place])
        if tail is not None:
            yield place * BLOCK_TOKENS + tail[1], tail[0]


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
    inner = set(parents)
    inner_nexts = Counter(parent for block, parent in enumerate(parents) if block in inner)
    heads = frozenset(block for block, number in inner_nexts.items() if number > 1) - {_ROOT}
    tails = _tails(rows, prompts, parents, inner, heads)
    gone_on = {leaf for leaf, _ in tails.values()}
    nexts = Counter(parent for block, parent in enumerate(parents) if block not in gone_on)
    whole = {blocks[-1] for row, blocks in zip(rows, prompts, strict=True) if row.input_length % BLOCK_TOKENS == 0}
    cuts = whole | heads | {block for block, number in nexts.items() if number > 1}
    return _Forest(tuple(prompts), tails, frozenset(cuts - {_ROOT}), heads)


def _tails(
    rows: Sequence[TraceRow],
    prompts: Sequence[tuple[int, ...]],
    parents: Sequence[int],
    inner: AbstractSet[int],
    heads: AbstractSet[int],
) -> dict[int, tuple[int, int]]:
    """By block: the end of the latest earlier prompt that it goes on from, if that one ended within it."""
    latest: dict[int, tuple[int, int]] = {}
    """By the block before: the last block of the latest prompt there, and its tokens."""
    tails: dict[int, tuple[int, int]] = {}
    seen = -1
    for row, blocks in zip(rows, prompts, strict=True):
        for block in blocks:
            if block > seen:
                seen = block
                tail = latest.pop(parents[block], None) if block != blocks[-1] or block in inner else None
                if tail is not None:
                    tails[block] = tail
        tokens = row.input_length % BLOCK_TOKENS
        before = parents[blocks[-1]]
        if tokens and blocks[-1] not in inner and before not in heads and before != _ROOT:
            latest[before] = blocks[-1], tokens
    return tails
