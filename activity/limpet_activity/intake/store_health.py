"""Whether the store does what it is asked: said once when that changes, and shown."""

import logging
from typing import Final

from limpet_activity.intake.metrics import IntakeMetrics

_log = logging.getLogger(__name__)


class StoreHealth:
    """Of one store."""

    def __init__(self, metrics: IntakeMetrics) -> None:
        self._metrics: Final = metrics
        self.trouble = ""
        """What is wrong, for a person; empty: nothing."""
        self._metrics.store_up.set(1)

    def well(self) -> None:
        """It did."""
        if self.trouble:
            _log.info("the store does what it is asked again")
        self.trouble = ""
        self._metrics.store_up.set(1)

    def ill(self, why: str) -> None:
        """It did not."""
        if not self.trouble:
            _log.error("records are not taken, and workers keep them: %s", why)
        self.trouble = why
        self._metrics.store_up.set(0)
