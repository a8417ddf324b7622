"""Passes records on in a thread of its own, so that a slow or absent other end holds up nobody."""

import logging
from collections import deque
from collections.abc import Sequence
from threading import Condition, Thread
from typing import Final

from limpet_activity.export.export_metrics import LOSS_REASONS, ExportMetrics, LossReason
from limpet_activity.export.port import Sink
from limpet_extproc.contract.activity import ActivityRecord

_log = logging.getLogger(__name__)

MOST_WAITING: Final = 20_000
"""Records: more than a minute of 300 a second, at most some 40 MB."""
MOST_AT_ONCE: Final = 512
"""Records, as many as an OpenTelemetry SDK sends at once."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the attempts to pass on the same records: a collector that starts again is back by the last one."""
_LAST_S: Final = 1.0
"""For a sink to give up in; a thread that is still held up then ends with the process."""


class BackgroundExporter:
    """An `Exporter` around a sink."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        metrics: ExportMetrics,
        *,
        most_waiting: int = MOST_WAITING,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self.name = name
        self._sink = sink
        self._most_waiting = most_waiting
        self._pauses_s = pauses_s
        self._exported = metrics.exported.labels(name)
        self._lost = {why: metrics.lost.labels(name, why) for why in LOSS_REASONS}
        self._waiting: deque[ActivityRecord] = deque()
        self._changed = Condition()
        self._closing = False
        self._failing = False
        metrics.waiting.labels(name).set_function(lambda: len(self._waiting))
        self._thread = Thread(target=self._run, name=f"export-{name}", daemon=True)
        self._thread.start()

    def export(self, records: Sequence[ActivityRecord]) -> None:
        """See `Exporter`."""
        with self._changed:
            why: LossReason = "closed" if self._closing else "queue_full"
            room = 0 if self._closing else max(0, self._most_waiting - len(self._waiting))
            self._waiting.extend(records[:room])
            self._changed.notify()
        if len(records) > room:
            self._lost[why].inc(len(records) - room)

    def close(self, within_s: float) -> None:
        """See `Exporter`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within_s)
        if self._thread.is_alive():
            self._sink.interrupt()
            self._thread.join(_LAST_S)

    def _run(self) -> None:
        while batch := self._next():
            self._pass_on(batch)
        self._sink.close()

    def _next(self) -> Sequence[ActivityRecord]:
        """Those whose turn it is; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]

    def _pass_on(self, batch: Sequence[ActivityRecord]) -> None:
        for pause_s in (*self._pauses_s, None):
            taken = self._written(batch)
            self._exported.inc(taken)
            batch = batch[taken:]
            if not batch:
                self._failing = False
                return
            if pause_s is None or self._closes_within(pause_s):
                break
        self._lost["not_taken"].inc(len(batch))

    def _written(self, batch: Sequence[ActivityRecord]) -> int:
        try:
            taken = self._sink.write(batch)
        except Exception as error:
            taken = 0
            # Once for a run of failures: this may go on for days.
            if not self._failing:
                _log.warning("%s does not take records: %s; it is tried again", self.name, error)
        self._failing = self._failing or taken < len(batch)
        return taken

    def _closes_within(self, pause_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closing, pause_s)
