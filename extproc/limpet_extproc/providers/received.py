"""Takes in what other workers tell, so that no word of theirs ends this one."""

import logging
from collections.abc import Callable

from limpet_extproc.providers.events import ProviderEvent, WorkerEvent
from limpet_extproc.providers.limit_events import EventsMissed, RequestEnded, RequestSent, UseReported
from limpet_extproc.providers.limit_use import LimitUse

_log = logging.getLogger(__name__)


class Received:
    """Hands each event to the part of this worker that it concerns."""

    def __init__(
        self,
        apply: Callable[[ProviderEvent], None],
        limit_use: LimitUse,
        known: Callable[[str], bool],
        failed: Callable[[], object],
    ) -> None:
        """`apply` is the tracker's, for workers beside this Envoy or beside others.

        Events of providers that are not `known` are ignored: nobody would ever drop what was kept of them. `failed` is
        called for each event that could not be taken in because of an error here.
        """
        self._apply = apply
        self._limit_use = limit_use
        self._known = known
        self._failed = failed
        self._said = False

    def take(self, event: WorkerEvent) -> None:
        """Take in this event. Raises nothing."""
        try:
            if not isinstance(event, EventsMissed) and not self._known(event.provider):
                return
            if isinstance(event, RequestSent | RequestEnded | UseReported | EventsMissed):
                self._limit_use.apply_received(event)
            else:
                self._apply(event)
        except Exception:
            self._failed()
            if not self._said:
                self._said = True
                _log.exception("an event of another worker failed in Limpet; please report this. Said once")
