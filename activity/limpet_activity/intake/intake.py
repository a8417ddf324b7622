"""Takes batches of several workers together: one transaction for all that has come while the last one was written."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from time import perf_counter
from typing import Final, NamedTuple, Never

from limpet_activity.intake.batches import ReadBatch
from limpet_activity.intake.metrics import IntakeMetrics
from limpet_activity.intake.store_health import StoreHealth
from limpet_activity.store.port import StoreError
from limpet_activity.store.taking import Take, Taken
from limpet_extproc.contract.activity import ActivityRecord

_log = logging.getLogger(__name__)

MOST_WAITING: Final = 100
"""Batches that wait to be written; further ones are for later, and wait at the workers."""
MOST_AT_ONCE: Final = 10
"""Batches in one transaction: full ones hold 5,000 records."""


class _Waiting(NamedTuple):
    read: ReadBatch
    done: "asyncio.Future[None]"


class Intake:
    """Between the servers and the store. One event loop, one thread that writes."""

    def __init__(
        self,
        take: Take,
        passed_on: Sequence[Callable[[Sequence[ActivityRecord]], None]],
        health: StoreHealth,
        metrics: IntakeMetrics,
        clock: Callable[[], float],
        executor: Executor,
    ) -> None:
        """`passed_on` get what is new after it was stored; they never block and never raise."""
        self._take: Final = take
        self._passed_on: Final = passed_on
        self._health: Final = health
        self._metrics: Final = metrics
        self._clock: Final = clock
        self._executor: Final = executor
        self._waiting: Final[asyncio.Queue[_Waiting]] = asyncio.Queue(MOST_WAITING)

    async def take(self, read: ReadBatch) -> None:
        """Returns once all of it is kept. Raises StoreError if it is not; the same may then be tried again."""
        waiting = _Waiting(read, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(waiting)
        except asyncio.QueueFull:
            raise StoreError(f"{MOST_WAITING} batches wait to be written already") from None
        await waiting.done

    async def run(self) -> Never:
        """Write for ever."""
        while True:
            group = [await self._waiting.get()]
            while len(group) < MOST_AT_ONCE and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await self._write(group)

    async def finished(self) -> None:
        """Returns once nothing waits; call it when nothing comes any more."""
        await self._waiting.join()

    async def _write(self, group: Sequence[_Waiting]) -> None:
        began = perf_counter()
        batches = [each.read.batch for each in group]
        try:
            taken = await asyncio.get_running_loop().run_in_executor(self._executor, self._take, batches, self._clock())
        except StoreError as error:
            self._health.ill(str(error))
            self._metrics.batches_away.inc(len(group))
            self._answer(group, error)
            return
        except Exception as error:
            _log.exception("writing records failed; please report this")
            self._metrics.batches_away.inc(len(group))
            self._answer(group, StoreError(f"writing them failed: {type(error).__name__}"))
            return
        self._metrics.group_s.observe(perf_counter() - began)
        self._health.well()
        self._count(group, taken)
        self._answer(group, None)
        if taken.new:
            for pass_on in self._passed_on:
                pass_on(taken.new)

    def _count(self, group: Sequence[_Waiting], taken: Taken) -> None:
        handed, new = sum(len(each.read.batch.records) for each in group), len(taken.new)
        refused = taken.refused + sum(each.read.unreadable for each in group)
        self._metrics.batches_taken.inc(len(group))
        self._metrics.taken.inc(new)
        self._metrics.repeated.inc(handed - new - taken.refused - taken.too_old)
        self._metrics.refused.inc(refused)
        self._metrics.too_old.inc(taken.too_old)
        if refused:
            _log.warning("%d records cannot be kept: they have no id or time, or are not what a record is", refused)

    def _answer(self, group: Sequence[_Waiting], error: StoreError | None) -> None:
        for each in group:
            self._waiting.task_done()
            if each.done.done():  # Its worker has gone.
                continue
            if error is None:
                each.done.set_result(None)
            else:
                each.done.set_exception(error)
