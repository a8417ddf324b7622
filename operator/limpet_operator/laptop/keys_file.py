"""A file of keys while people edit it: a slip or a half-written file shuts out no client whose entry is as before."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from limpet_operator.resources.problem import Problem
from limpet_operator.sources.files import Document, Scan, scan

STABLE_S: Final = 0.2
"""A file that stays the same for so long is not being written."""
_MOST_LOOKS: Final = 5
"""After these a file counts as it is: one that is empty was emptied, and one that goes on changing is read."""

_NO_MAPPING: Final = Problem("", "is not a mapping of clients' names to their keys")
_KEPT: Final = "; the keys that were read last go on being served until it is repaired"


async def settled(
    path: Path,
    seen: Scan,
    read: Callable[[Path, Scan], Scan] = scan,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Scan:
    """The file once it is written: editors empty it first, or write it in parts."""
    for _ in range(_MOST_LOOKS):
        await sleep(STABLE_S)
        try:
            now = await asyncio.to_thread(read, path, seen)
        except FileNotFoundError:  # Another is about to take its place.
            continue
        if now.same_as(seen) and any(each.raw for each in now.documents):
            return now
        seen = now
    return seen


def readable(documents: Iterable[Document]) -> tuple[Document, ...] | None:
    """All of them; None: one of them cannot be read."""
    found = tuple(documents)
    return found if all(_problem(each) is None for each in found) else None


def with_last(now: Iterable[Document], last: Sequence[Document]) -> Iterator[Document]:
    """The documents, or those that were read last and what is wrong, while one of them cannot be read."""
    documents = tuple(now)
    if not last or readable(documents) is not None:
        yield from documents
        return
    yield from last
    for each in documents:
        if (problem := _problem(each)) is not None:
            yield replace(each, problem=problem._replace(message=problem.message + _KEPT))


def _problem(document: Document) -> Problem | None:
    if document.problem is None and not isinstance(document.raw, dict | None):
        return _NO_MAPPING
    return document.problem
