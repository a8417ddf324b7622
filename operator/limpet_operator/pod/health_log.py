"""The log's lines about providers: once when one is no longer up, and once when it is up again."""

import logging
from collections.abc import Mapping

from limpet_operator.status.health import ProviderHealth
from limpet_operator.status.health_lines import health_lines, told_after

_log = logging.getLogger(__name__)


class HealthLog:
    """Remembers how the providers were doing."""

    def __init__(self) -> None:
        self._before: Mapping[str, ProviderHealth] = {}

    def log(self, now: Mapping[str, ProviderHealth]) -> None:
        """Log what differs from the last call."""
        for line in health_lines(self._before, now):
            level = logging.WARNING if line.bad else logging.INFO
            _log.log(level, "%s", line.text, extra={"provider": line.provider, "reason": line.reason})
        self._before = told_after(self._before, now)
