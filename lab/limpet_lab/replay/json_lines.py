"""Files of one JSON object a line, as people have them: what cannot be read is left out and said, and put in order."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

import msgspec

_NAMED_PROBLEMS: Final = 3

_T = TypeVar("_T")

Notes = tuple[str, ...]
"""What was wrong with a file, and what was made of it."""


class TraceError(Exception):
    """The file cannot be replayed; the message says where and why."""


def lines_of(file: Path) -> list[bytes]:
    """The lines of a file. Raises TraceError."""
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise TraceError(f"{file}: {error.strerror}: name a file of JSON lines") from error


def read_each(lines: Iterable[bytes], name: str, read: Callable[[bytes], _T], wanted: str) -> tuple[list[_T], Notes]:
    """What `read` makes of each line, which raises MsgspecError or ValueError where it can't; with a note about those.

    Raises TraceError if none is left, which names the file and says what each line must be: `wanted`.
    """
    found: list[_T] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(read(line))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
    if not found:
        why = f"; {problems[0]}" if problems else ": it is empty"
        raise TraceError(f"{name}: no request in it{why}. Each line must be {wanted}")
    return found, _left_out(problems, len(found) + len(problems))


def in_order(rows: Sequence[_T], time_of: Callable[[_T], float]) -> tuple[tuple[_T, ...], Notes]:
    """The rows by their times, with a note if a clock went backwards."""
    back = sum(time_of(later) < time_of(row) for row, later in pairwise(rows))
    note = f"the clock goes backwards at {back} of {len(rows)} lines: the requests are put in the order of their times"
    return tuple(sorted(rows, key=time_of)), (note,) if back else ()


def _left_out(problems: Sequence[str], lines: int) -> Notes:
    if not problems:
        return ()
    more = f", and {len(problems) - _NAMED_PROBLEMS} more" if len(problems) > _NAMED_PROBLEMS else ""
    return (f"{len(problems)} of {lines} lines are left out: {'; '.join(problems[:_NAMED_PROBLEMS])}{more}",)
