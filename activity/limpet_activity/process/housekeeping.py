"""What is done now and then: old records removed, the store asked how it is, figures shown."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Final, Never, Protocol

from limpet_activity.intake.metrics import IntakeMetrics
from limpet_activity.intake.store_health import StoreHealth
from limpet_activity.store.port import ActivityStore, StoreError
from limpet_activity.store.retention import KeepLimits

_log = logging.getLogger(__name__)

CHECK_S: Final = 5.0
TIDY_S: Final = 60.0
_PAUSE_S: Final = 0.05
"""Between steps of tidying, in which records are taken in."""


class Tidied(Protocol):
    """A store that has to be told what not to keep."""

    def prepare(self) -> None:
        """Make its tables, or bring them up to date. Blocks. Raises StoreError."""

    def tidy(self, limits: KeepLimits, now_s: float) -> bool:
        """Remove some of what is not to be kept; whether there may be more. Blocks. Raises StoreError."""


class Housekeeping:
    """Of one store."""

    def __init__(
        self,
        store: ActivityStore,
        tidied: Tidied | None,
        limits: KeepLimits,
        health: StoreHealth,
        metrics: IntakeMetrics,
        clock: Callable[[], float],
        executor: Executor,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`tidied`: the same store, if it keeps what it has for ever unless it is told otherwise."""
        self._store: Final = store
        self._tidied: Final = tidied
        self._limits: Final = limits
        self._health: Final = health
        self._metrics: Final = metrics
        self._clock: Final = clock
        self._executor: Final = executor
        self._sleep: Final = sleep
        self._tidy_s = 0.0

    async def prepare(self) -> None:
        """Make its tables; returns once that is done. A database that is away is waited for."""
        while self._tidied is not None:
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self._tidied.prepare)
            except StoreError as error:
                self._health.ill(str(error))
                await self._sleep(1.0)
            else:
                self._health.well()
                return

    async def run(self) -> Never:
        """Look after it for ever."""
        while True:
            for work in (self._show, self._tidy):
                try:
                    await work()
                except StoreError as error:
                    self._health.ill(str(error))
                except Exception:
                    _log.exception("looking after the store failed; please report this")
            await self._sleep(CHECK_S)

    async def _show(self) -> None:
        state = await asyncio.to_thread(self._store.state)
        self._metrics.kept.set(state.records)
        self._metrics.size.set(state.size_bytes)
        self._metrics.dropped.set(state.dropped)

    async def _tidy(self) -> None:
        if self._tidied is not None and self._clock() >= self._tidy_s + TIDY_S:
            while await asyncio.get_running_loop().run_in_executor(
                self._executor, self._tidied.tidy, self._limits, self._clock()
            ):
                await self._sleep(_PAUSE_S)
            self._tidy_s = self._clock()
