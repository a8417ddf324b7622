"""Traces: when each request came, how long its prompt and its answer were, and which blocks its prompt is made of.

The form is that of the Mooncake traces (github.com/kvcache-ai/Mooncake): one JSON object a line with `timestamp` in
milliseconds, `input_length` and `output_length` in tokens, and `hash_ids`, one for each 512 tokens of the prompt. Equal
ids after equal beginnings are equal texts. There is no text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from limpet_lab.replay.json_lines import Notes, in_order, lines_of, read_each

BLOCK_TOKENS: Final = 512
MOST_TOKENS: Final = 10_000_000
"""Of a prompt or an answer; more is a mistake in the trace."""

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class TraceRow(msgspec.Struct, frozen=True):
    """One request of a trace."""

    timestamp: Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
    """Milliseconds; only differences count."""
    input_length: Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]
    output_length: _Tokens
    hash_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a prompt whose blocks are not all there."""
        if len(self.hash_ids) != -(-self.input_length // BLOCK_TOKENS):
            raise ValueError(
                f"{len(self.hash_ids)} hash_ids for {self.input_length} tokens: there must be one for each "
                f"{BLOCK_TOKENS} tokens or part of them"
            )


@dataclass(frozen=True, slots=True)
class Trace:
    """The requests in the order of their times."""

    rows: tuple[TraceRow, ...]
    notes: Notes = ()


def read_trace(file: Path) -> Trace:
    """The trace in a file. Lines that cannot be read are left out, and noted. Raises TraceError if none is left."""
    return trace_of(lines_of(file), str(file))


def trace_of(lines: Iterable[bytes], name: str) -> Trace:
    """The trace in these lines. Raises TraceError."""
    decoder = msgspec.json.Decoder(TraceRow)
    wanted = "an object with timestamp, input_length, output_length and hash_ids"
    read, left_out = read_each(lines, name, decoder.decode, wanted)
    rows, put_in_order = in_order(read, lambda row: row.timestamp)
    return Trace(rows, (*left_out, *put_in_order))
