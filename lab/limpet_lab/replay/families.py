"""Traces of kinds that nothing in Limpet was tuned for, made from a seed: agents, big heads, long pauses, bursts."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from math import exp, log
from random import Random
from typing import Final

from limpet_lab.replay.trace import BLOCK_TOKENS, Trace, TraceRow


class _Writer:
    """Draws blocks, times and lengths; all from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - a simulation
        self._ids = count()

    def blocks(self, number: int) -> list[int]:
        """Texts that nobody else has."""
        return [next(self._ids) for _ in range(number)]

    def between(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def row(self, at_s: float, blocks: list[int], output_tokens: int) -> TraceRow:
        """A prompt of these blocks and a part of one more."""
        tail_tokens = self.between(1, BLOCK_TOKENS - 1)
        tokens = len(blocks) * BLOCK_TOKENS + tail_tokens
        return TraceRow(round(at_s * 1000), tokens, output_tokens, (*blocks, next(self._ids)))

    def conversation(
        self,
        begin_s: float,
        head: list[int],
        turns: int,
        gap_s: Callable[[], float],
        growth: tuple[int, int],
        output: tuple[int, int],
    ) -> Iterator[TraceRow]:
        """Turns of which each goes on from the whole of the one before."""
        at_s, prompt = begin_s, [*head, *self.blocks(self.between(*growth))]
        for _ in range(turns):
            yield self.row(at_s, prompt, self.between(*output))
            prompt = [*prompt, *self.blocks(self.between(*growth))]
            at_s += gap_s()


def _agents(write: _Writer) -> Iterator[TraceRow]:
    """Coding agents: long loops of tool calls a few seconds apart; each of three kinds of agent has a long head."""
    heads = [write.blocks(write.between(12, 24)) for _ in range(3)]
    for _ in range(90):
        head = write.random.choice(heads)
        yield from write.conversation(
            write.random.uniform(0, 3600),
            head,
            write.between(8, 60),
            lambda: write.random.uniform(3, 40) if write.random.random() < 0.97 else write.random.uniform(60, 900),
            (1, 4),
            (40, 600),
        )


def _rag(write: _Writer) -> Iterator[TraceRow]:
    """Questions about one big handbook: the same 30,000 tokens before thousands of short conversations."""
    head = write.blocks(58)
    for _ in range(1600):
        yield from write.conversation(
            write.random.uniform(0, 3600),
            head,
            write.random.choice((1, 1, 1, 2, 2, 3)),
            lambda: write.random.uniform(15, 240),
            (1, 5),
            (80, 500),
        )


def _support(write: _Writer) -> Iterator[TraceRow]:
    """Support bots: conversations over hours, with pauses of 1 to 90 minutes between turns."""
    heads = [write.blocks(write.between(3, 8)) for _ in range(4)]
    for _ in range(400):
        yield from write.conversation(
            write.random.uniform(0, 4 * 3600),
            write.random.choice(heads),
            write.between(1, 9),
            lambda: 60 * exp(write.random.uniform(log(1), log(90))),
            (1, 3),
            (60, 400),
        )


def _bursts(write: _Writer) -> Iterator[TraceRow]:
    """Batches: dozens of requests within a second or two that share a long document, some with a further turn."""
    at_s = 0.0
    while at_s < 3600:
        at_s += write.random.uniform(20, 150)
        head = write.blocks(write.between(6, 40))
        for _ in range(write.between(10, 60)):
            yield from write.conversation(
                at_s + write.random.expovariate(2.0),
                head,
                write.random.choice((1, 1, 1, 2)),
                lambda: write.random.uniform(10, 90),
                (1, 2),
                (30, 300),
            )


_FAMILIES: Final[Mapping[str, Callable[[_Writer], Iterator[TraceRow]]]] = {
    "agents": _agents,
    "rag": _rag,
    "support": _support,
    "bursts": _bursts,
}
FAMILY_NAMES: Final = tuple(_FAMILIES)


def family(name: str, seed: int = 1) -> Trace:
    """A trace of this family; the same seed gives the same trace."""
    rows = sorted(_FAMILIES[name](_Writer(seed)), key=lambda row: row.timestamp)
    return Trace(tuple(rows))
