"""The requests of a trace with what they have in common: each block of a prompt by all that comes before it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from limpet_lab.replay.trace import BLOCK_TOKENS, TraceRow

_ROOT: Final = -1


class Message(NamedTuple):
    """One message of a prompt."""

    end_tokens: int
    """Up to which token of the prompt it goes."""
    role: Literal["system", "user", "assistant"]


class Tail(NamedTuple):
    """The end of a prompt that a later one goes on from."""

    block: int
    """Its last one, which is a part of one."""
    tokens: int
    """Of that block."""
    answer_tokens: int
    """Of the answer, which comes next in the later prompt."""


class ReplayedRequest(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    number: int
    """Its place in the trace."""
    at_s: float
    """Unix time on the virtual clock."""
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    """Of the prompt, each by a number that stands for it and all before it."""
    messages: tuple[Message, ...]
    conversation: int
    """What names its conversation: its beginning up to the end of the first message of the user, by the last block."""
    before: int
    """The last request of the same conversation; -1: it is the first one."""


@dataclass(frozen=True, slots=True)
class ReplayedRequests:
    """The requests of a trace, in the order of their times."""

    all: tuple[ReplayedRequest, ...]
    tails: Mapping[int, Tail]
    """By block that begins with the end of an earlier prompt: that end."""


@dataclass(frozen=True, slots=True)
class _Forest:
    """All prompts by their blocks."""

    prompts: tuple[tuple[int, ...], ...]
    tails: Mapping[int, Tail]
    cuts: frozenset[int]
    """Blocks with which some message ends: a prompt ends there, or prompts go on differently."""
    heads: frozenset[int]
    """Blocks with which a system prompt ends: several conversations go on from it."""


def requests_of(rows: Sequence[TraceRow], begin_s: float) -> ReplayedRequests:
    """The requests of a trace that begins at this Unix time.

    A trace has no messages and no names of conversations. Messages end where prompts do, and where they go on
    differently. What several prompts go on from is a system prompt, and what begins with the same first message of
    the user a conversation, as for a gateway that knows it by that.

    A prompt's last block is mostly a part of one, and the next turn has another one in its place, which begins with the
    same text.
    """
    forest = _forest(rows)
    latest: dict[int, int] = {}
    requests: list[ReplayedRequest] = []
    for number, (row, blocks) in enumerate(zip(rows, forest.prompts, strict=True)):
        at_s = begin_s + (row.timestamp - rows[0].timestamp) / 1000
        messages, names = _messages(row, blocks, forest)
        conversation = names[min(1 if messages[0].role == "system" else 0, len(names) - 1)]
        before = latest.get(conversation, _ROOT)
        requests.append(
            ReplayedRequest(number, at_s, row.input_length, row.output_length, blocks, messages, conversation, before)
        )
        latest[conversation] = number
    return ReplayedRequests(tuple(requests), forest.tails)


def _messages(row: TraceRow, blocks: tuple[int, ...], forest: _Forest) -> tuple[tuple[Message, ...], list[int]]:
    """The messages of a prompt, and for each the block that it ends with, which names all up to there."""
    system = next((place for place, block in enumerate(blocks[:-1], 1) if block in forest.heads), 0)
    ends: list[tuple[int, int]] = []
    answers: dict[int, int] = {}
    """By where an answer begins: where it ends."""
    for place in range(max(1, system), len(blocks)):
        if blocks[place - 1] in forest.cuts:
            ends.append((place * BLOCK_TOKENS, blocks[place - 1]))
        tail = forest.tails.get(blocks[place])
        if tail is not None:
            end = place * BLOCK_TOKENS + tail.tokens
            ends.append((end, tail.block))
            answers[end] = end + tail.answer_tokens
    ends.append((row.input_length, blocks[-1]))
    messages: list[Message] = []
    names: list[int] = []
    begin = 0
    for end, name in ends:
        answer_end = answers.get(begin, end)
        if begin < answer_end < end:
            messages.append(Message(answer_end, "assistant"))
            names.append(name)
        messages.append(Message(end, "system" if system and not messages else "user"))
        names.append(name)
        begin = end
    return tuple(messages), names


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
    gone_on = {tail.block for tail in tails.values()}
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
) -> dict[int, Tail]:
    """By block: the end of the latest earlier prompt that it goes on from, if that one ended within it."""
    latest: dict[int, Tail] = {}
    """By the block before: the end of the latest prompt there."""
    tails: dict[int, Tail] = {}
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
            latest[before] = Tail(blocks[-1], tokens, row.output_length)
    return tails
