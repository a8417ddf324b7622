"""Changes on their way to Redis: told without waiting, written at once by a task, seen by lookups from then on."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from limpet_extproc.memory.redis_layout import Change, Names, encode, redis_key
from limpet_extproc.memory.redis_link import Link
from limpet_extproc.memory.redis_trouble import Journal, Trouble

log = logging.getLogger(__name__)

_AT_ONCE: Final = 256
"""Conversations in one round trip."""

MAX_UNWRITTEN: Final = 10_000
"""Changes; about a megabyte. More come only when Redis hangs, and then for a second at most."""


class Answer(NamedTuple):
    """A conversation after a write."""

    value: bytes | Trouble | None
    """In Redis, as `decode` reads it; or why nothing was written."""
    unwritten: Sequence[Change]
    """What was told since."""


class Changes:
    """Takes changes in order and writes them over a link; those that can't be written are counted and dropped."""

    def __init__(self, link: Link, names: Names, journal: Journal) -> None:
        self._link = link
        self._names = names
        self._journal = journal
        self._of: dict[bytes, list[Change]] = {}
        self._asked: dict[bytes, list[asyncio.Future[Answer]]] = {}
        self._count = 0
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        journal.unwritten.set_function(lambda: self._count)

    def add(self, key: bytes, change: Change) -> None:
        """To be written as soon as possible."""
        if self._link.store is None:
            self._journal.count("write", "away")
            return
        if self._count >= MAX_UNWRITTEN:
            self._journal.count("write", "queue_full")
            return
        self._of.setdefault(key, []).append(change)
        self._count += 1
        self._none.clear()
        self._some.set()

    def answer(self, key: bytes) -> asyncio.Future[Answer] | None:
        """For a lookup of what is being written: what the write under way, or the next one, will have left.

        None if nothing is to be written of this conversation.
        """
        if key not in self._of:
            return None
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(answer)
        return answer

    async def written(self) -> None:
        """Wait until nothing is left to write."""
        await self._none.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            await self._write()
            if not self._of:
                self._some.clear()
                self._none.set()

    async def _write(self) -> None:
        batch = [(key, tuple(changes)) for key, changes in islice(self._of.items(), _AT_ONCE)]
        results = await self._attempt(batch)
        failed: Trouble | None = None
        for (key, changes), result in zip(batch, results, strict=True):
            self._count -= len(changes)
            del self._of[key][: len(changes)]
            self._tell(key, Answer(result, tuple(self._of[key])))
            if not self._of[key]:
                del self._of[key]
            if isinstance(result, Trouble):
                failed = result
                self._journal.count("write", result.reason, len(changes))
        if self._link.store is not None:
            self._journal.written(failed)

    def _tell(self, key: bytes, answer: Answer) -> None:
        for asked in self._asked.pop(key, ()):
            if not asked.done():
                asked.set_result(answer)

    async def _attempt(self, batch: Sequence[tuple[bytes, Sequence[Change]]]) -> Sequence[bytes | Trouble | None]:
        store = self._link.store
        if store is None:
            return [Trouble("away")] * len(batch)
        try:
            writes = [(redis_key(key), [encode(change, self._names) for change in changes]) for key, changes in batch]
            return await store.write(writes)
        except Trouble as trouble:
            self._link.failed(store, trouble)
            return [trouble] * len(batch)
        except Exception:
            # What no Redis could be told must not end the telling of all that follows.
            log.exception("changes of the memory were lost; please report this")
            return [Trouble("error")] * len(batch)
