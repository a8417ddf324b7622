"""How many entries of Envoy's access log a worker takes in, and how late."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

from limpet_extproc.telemetry.collectors import Spread

_DELAY_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class AccessLogMetrics:
    """The metrics of taking entries in, counted once a batch."""

    def __init__(self, registry: CollectorRegistry) -> None:
        entries = Counter(
            "limpet_access_log_entries",
            "Entries of Envoy's access log that were taken in, of the gateway's own Envoy or of sidecars.",
            ["envoy"],
            registry=registry,
        )
        self._own = entries.labels("own").inc
        self._of_sidecars = entries.labels("sidecar").inc
        self._delay = Spread(
            "limpet_outcome_delay_seconds",
            "Seconds from the end of a request until its outcome was taken in: of the oldest one of each batch.",
            (),
            _DELAY_S,
            registry,
        )

    def taken(self, entries: int, delay_s: float | None) -> None:
        """A batch of the gateway's own Envoy. `delay_s` is that of its oldest entry; None: it is not known."""
        self._own(entries)
        if delay_s is not None:
            self._delay.add(delay_s)

    def taken_of_sidecar(self, entries: int) -> None:
        """A batch of a sidecar. Its clock may be another machine's, so how late it is cannot be told."""
        self._of_sidecars(entries)
