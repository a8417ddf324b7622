"""Hands the records of ended requests over to the activity service, beside the requests and after them.

At least once: a batch is sent until it is taken, and the ids of its records make repeats harmless. One at a time, so
that a slow service has no more than one call of each worker; what has to wait longer is in `ActivityBuffer`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Never, Protocol

from limpet_extproc.contract.activity import ActivityRecord, ProviderReport
from limpet_extproc.operator_link.activity_channel import TakingError
from limpet_extproc.process.activity_buffer import ActivityBuffer, SealedBatch
from limpet_extproc.telemetry.activity_metrics import ActivityMetrics

_log = logging.getLogger(__name__)

FLUSH_S: Final = 0.5
"""From the end of a request to the sending of its record, at most."""
REPORT_EVERY_S: Final = 30.0
"""How providers are doing is told so often, and when it changes."""
STARTS_S: Final = 10.0
"""In which a service that is started beside the worker comes up; that it does not answer until then is no news."""
LAST_S: Final = 1.5
"""To hand over what is left when the worker stops."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 2.0


class ActivityTarget(Protocol):
    """The way to the service."""

    async def send(self, batch: bytes) -> None:
        """Hand a batch over. Raises TakingError."""

    async def close(self) -> None:
        """Send no more."""


class ActivitySender:
    """Between what ends in a worker and the service."""

    def __init__(
        self,
        buffer: ActivityBuffer,
        target: ActivityTarget,
        reports: Callable[[], tuple[ProviderReport, ...]],
        metrics: ActivityMetrics,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`reports`: how all providers are doing now."""
        self._buffer = buffer
        self._target = target
        self._reports = reports
        self._metrics = metrics
        self._clock = clock
        self._sleep = sleep
        self._report_s = 0.0
        self._away = self._reached = False
        self._tried_s: float | None = None

    def add(self, record: ActivityRecord) -> None:
        """A request has ended; no more than a note on its path."""
        self._buffer.add(record)

    def providers_changed(self) -> None:
        """Tell soon how they are doing."""
        self._report_s = 0.0

    async def run(self) -> Never:
        """Hand over for ever."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._seal()
            if await self._send_all():
                pause_s = _FIRST_PAUSE_S
                await self._sleep(FLUSH_S)
            else:
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Hand over what is left, if that takes no time, and say what is lost."""
        self._buffer.seal(self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                while not await self._send_all():
                    await self._sleep(_FIRST_PAUSE_S)
        if lost := self._buffer.waiting:
            _log.warning("records of %d requests are lost: the activity service did not take them in time", lost)
        await self._target.close()

    def _seal(self) -> None:
        now_s = self._clock()
        due = now_s >= self._report_s + REPORT_EVERY_S or now_s < self._report_s
        if due:
            self._report_s = now_s
        self._buffer.seal(now_s, self._reports() if due else ())
        self._metrics.show(self._buffer.dropped, self._buffer.waiting_bytes)

    async def _send_all(self) -> bool:
        """Whether nothing is left; else the service is away."""
        while (batch := self._buffer.oldest()) is not None:
            if not await self._send(batch):
                return False
        return True

    async def _send(self, batch: SealedBatch) -> bool:
        try:
            await self._target.send(batch.data)
        except TakingError as error:
            if error.final:
                _log.warning("the activity service refuses records of %d requests: %s", batch.records, error)
                self._buffer.refused()
                return True
            if not self._away and self._is_news():
                _log.warning("the activity service is away, and records wait in this process: %s", error)
                self._away = True
            return False
        if self._away:
            _log.info("the activity service takes records again")
        self._away, self._reached = False, True
        self._buffer.taken()
        self._metrics.taken(batch.records)
        return True

    def _is_news(self) -> bool:
        """Whether it has answered before, or had the time to start."""
        now_s = self._clock()
        if self._tried_s is None or now_s < self._tried_s:
            self._tried_s = now_s
        return self._reached or now_s - self._tried_s >= STARTS_S
