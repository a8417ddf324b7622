"""Objects from YAML and JSON files below a directory, now and whenever they change.

Only what changed is read again: a file whose modification time, size and inode are the same is not opened, and a
document whose text is the same keeps its very object, so that everything built from it can be reused by identity.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from watchfiles import awatch

from limpet_operator.resources.problem import Problem
from limpet_operator.sources.yaml_text import Chunk, UnreadableError, read_json, read_yaml, split

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_DEBOUNCE_MS: Final = 50
_STEP_MS: Final = 5
_RESCAN_MS: Final = 2_000
"""How soon a change is seen that the kernel does not report: targets of symbolic links, network file systems."""
_RETURN_S: Final = 0.1
"""Between two looks for a directory that is gone."""
_GONE_AFTER: Final = 10
"""A swap takes fewer looks than this."""

_CLOCK_TICK_NS: Final = 50_000_000
"""File systems stamp with a coarse clock: a file this fresh may be written again under the same stamp."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object is: the file below the directory, the document's number in it and its first line, from 1.

    `item` is its place in a document that is a list, from 1; 0: the document is the object.
    """

    file: str
    document: int
    line: int
    item: int = 0

    def __str__(self) -> str:
        place = f"{self.file}, document {self.document}" if self.document else self.file
        return f"{place}, item {self.item}" if self.item else place


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One document of a file: its raw object, or why it could not be read."""

    origin: Origin
    text: str = field(repr=False)
    raw: Any = field(repr=False)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was last read; the stamp is modification time in ns, size and inode, or None: read it again."""

    stamp: Stamp | None
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """All documents at one moment, by file name and then by place in the file."""

    files: Mapping[str, FileState]

    @property
    def documents(self) -> Iterator[Document]:
        """Every document of every file, in the order in which the first of two with one name wins."""
        for state in self.files.values():
            yield from state.documents

    def same_as(self, other: "Scan") -> bool:
        """Whether both hold the very same documents."""
        return self.files.keys() == other.files.keys() and all(
            state.documents == other.files[name].documents for name, state in self.files.items()
        )


def scan(path: Path, previous: Scan | None = None, clock_ns: Callable[[], int] = time.time_ns) -> Scan:
    """Reads what changed since `previous`. Raises FileNotFoundError, with what to do, if there is no such place."""
    if not path.exists():
        raise FileNotFoundError(f"there is no directory {path}; create it with your YAML files, or name another")
    before = previous.files if previous else {}
    settled_before = clock_ns() - _CLOCK_TICK_NS
    return Scan({name: _state(file, name, before.get(name), settled_before) for name, file in _candidates(path)})


def _events(path: Path) -> AsyncGenerator[object]:
    return awatch(
        path,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_RESCAN_MS,
        yield_on_timeout=True,
    )


async def watch(
    path: Path,
    previous: Scan,
    on_gone: Callable[[], None] = lambda: None,
    events: Callable[[Path], AsyncGenerator[object]] = _events,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[Scan]:
    """Each new state of the directory after `previous`, until the task is cancelled.

    A directory that is gone (a volume being swapped, a branch being switched) changes nothing; `on_gone` is called if
    it stays away for longer than a swap takes. A directory that takes its place is followed like the first. Each of
    `events` calls for a scan: the kernel's notifications, and a timer for what the kernel does not report.
    """
    while True:
        async with aclosing(_until_replaced(path, events)) as notifications:
            async for _ in notifications:
                current = await asyncio.to_thread(_scan_if_there, path, previous)
                if current is not None and not current.same_as(previous):
                    previous = current
                    yield current
        missed = 0
        while _identity(path) is None:
            missed += 1
            if missed == _GONE_AFTER:
                on_gone()
            await sleep(_RETURN_S)
        current = await asyncio.to_thread(_scan_if_there, path, previous)
        if current is not None and not current.same_as(previous):
            previous = current
            yield current


async def _until_replaced(path: Path, events: Callable[[Path], AsyncGenerator[object]]) -> AsyncGenerator[None]:
    """The events of the directory that is there now. They follow it wherever it is moved, so this ends then."""
    watched = _identity(path)
    async with aclosing(events(path)) as notifications:
        with suppress(FileNotFoundError):  # It has gone since.
            async for _ in notifications:
                yield
                if _identity(path) != watched:
                    return


def _scan_if_there(path: Path, previous: Scan) -> Scan | None:
    try:
        return scan(path, previous)
    except FileNotFoundError:
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    """Which directory or file the path leads to, links followed; None: none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _candidates(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield path.name, path
        return
    found = []
    for folder, subfolders, names in os.walk(path):
        # Hidden folders hold the real files of a ConfigMap volume, whose visible names link to them.
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if _is_ours(name)]
    yield from sorted((file.relative_to(path).as_posix(), file) for file in found)


def _is_ours(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _state(file: Path, name: str, before: FileState | None, settled_before_ns: int) -> FileState:
    stamp: Stamp | None = None
    try:
        status = file.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if before and before.stamp == stamp:
            return before
        if status.st_mtime_ns > settled_before_ns:
            stamp = None
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        stamp = None  # Being allowed to read it again would not change the stamp.
        message = f"cannot be read: {error.strerror}; check that the file exists and may be read"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    else:
        return FileState(stamp, tuple(_documents(text, name, before)))
    if before and len(before.documents) == 1 and before.documents[0].problem == Problem("", message):
        return before
    return FileState(stamp, (Document(Origin(name, 0, 0), "", None, Problem("", message)),))


def _documents(text: str, name: str, before: FileState | None) -> Iterator[Document]:
    old = before.documents if before else ()
    same_text = {document.text: document for document in old if not document.origin.item}
    same_place: dict[int, list[Document]] = {}
    for document in old:
        same_place.setdefault(document.origin.document, []).append(document)
    is_json = name.lower().endswith(".json")
    chunks = [Chunk(text, 0)] if is_json else split(text)
    for number, chunk in enumerate(chunks, 1):
        origin = Origin(name, number, chunk.lines_before + 1)
        unchanged = same_place.get(number, ())
        if unchanged and unchanged[0].text == chunk.text and unchanged[0].origin.line == origin.line:
            yield from unchanged
            continue
        if (moved := same_text.get(chunk.text)) and moved.problem is None:
            yield Document(origin, chunk.text, moved.raw)
            continue
        try:
            raw = read_json(chunk.text) if is_json else read_yaml(chunk.text)
        except UnreadableError as error:
            problem = Problem(f"line {chunk.lines_before + error.line}", error.message)
            yield Document(origin, chunk.text, None, problem)
            continue
        yield from _items(origin, chunk.text, raw)


def _items(origin: Origin, text: str, raw: Any) -> Iterator[Document]:
    """The objects of a list, as `kubectl get -o yaml` prints one; anything else is one document."""
    items = raw.get("items") if isinstance(raw, dict) else None
    if not isinstance(items, list) or not str(raw.get("kind")).endswith("List"):
        yield Document(origin, text, raw)
        return
    for item, each in enumerate(items, 1):
        yield Document(replace(origin, item=item), text, each)
