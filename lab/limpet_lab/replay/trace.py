"""Traces: when each request came, how long its prompt and its answer were, and which blocks its prompt is made of.

The form is that of the Mooncake traces (github.com/kvcache-ai/Mooncake): one JSON object a line with `timestamp` in
milliseconds, `input_length` and `output_length` in tokens, and `hash_ids`, one for each 512 tokens of the prompt. Equal
ids after equal beginnings are equal texts. There is no text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

import msgspec

BLOCK_TOKENS: Final = 512
MOST_TOKENS: Final = 10_000_000
"""Of a prompt or an answer; more is a mistake in the trace."""

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
_NAMED_PROBLEMS: Final = 3


class TraceError(Exception):
    """The file cannot be replayed; the message says where and why."""


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
    notes: tuple[str, ...] = ()
    """What was wrong with the file, and what was made of it."""

    @property
    def seconds(self) -> float:
        """From the first request to the last."""
        return (self.rows[-1].timestamp - self.rows[0].timestamp) / 1000 if self.rows else 0.0


def read_trace(file: Path) -> Trace:
    """The trace in a file. Lines that cannot be read are left out, and noted. Raises TraceError if none is left."""
    return trace_of(lines_of(file), str(file))


def lines_of(file: Path) -> list[bytes]:
    """The lines of a file of JSON lines. Raises TraceError."""
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise TraceError(f"{file}: {error.strerror}: name a file of JSON lines") from error


def trace_of(lines: Iterable[bytes], name: str) -> Trace:
    """The trace in these lines. Raises TraceError."""
    decoder = msgspec.json.Decoder(TraceRow)
    rows: list[TraceRow] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            problems.append(f"line {number}: {error}")
    if not rows:
        found = f"; {problems[0]}" if problems else ": it is empty"
        raise TraceError(
            f"{name}: no request in it{found}. Each line must be an object with timestamp, input_length, "
            "output_length and hash_ids"
        )
    notes = left_out(problems, len(rows) + len(problems))
    return Trace(*in_time(rows, notes))


def left_out(problems: Sequence[str], lines: int) -> tuple[str, ...]:
    """A note about lines that could not be read, if there were any."""
    if not problems:
        return ()
    more = f", and {len(problems) - _NAMED_PROBLEMS} more" if len(problems) > _NAMED_PROBLEMS else ""
    return (f"{len(problems)} of {lines} lines are left out: {'; '.join(problems[:_NAMED_PROBLEMS])}{more}",)


def in_time(rows: Sequence[TraceRow], notes: tuple[str, ...] = ()) -> tuple[tuple[TraceRow, ...], tuple[str, ...]]:
    """The rows by their times, with a note if a clock went backwards."""
    back = sum(later.timestamp < row.timestamp for row, later in pairwise(rows))
    if back:
        note = (
            f"the clock goes backwards at {back} of {len(rows)} lines: the requests are put in the order of their times"
        )
        notes = (*notes, note)
    return tuple(sorted(rows, key=lambda row: row.timestamp)), notes
