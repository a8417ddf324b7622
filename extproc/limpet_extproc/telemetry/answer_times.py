"""How long clients wait for answers: histograms by provider and model."""

from typing import Final

from prometheus_client import CollectorRegistry

from limpet_extproc.telemetry.collectors import Spread

_FIRST_BYTE_S: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
"""Most of what a prompt cache saves is below two seconds."""
_DURATION_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class AnswerTimes:
    """Counts how long answers took. Providers and models are those of the catalog, so clients cannot make series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("provider", "model")
        self._first_byte = Spread(
            "limpet_time_to_first_byte_seconds",
            "Seconds from a request to the first byte of its answer, or to its first token where it is streamed.",
            labels,
            _FIRST_BYTE_S,
            registry,
        )
        self._duration = Spread(
            "limpet_request_duration_seconds",
            "Seconds from a request to the end of its answer.",
            labels,
            _DURATION_S,
            registry,
        )

    def add(self, provider: str, model: str, first_byte_s: float, duration_s: float) -> None:
        """A request was answered."""
        self._first_byte.add(first_byte_s, provider, model)
        self._duration.add(duration_s, provider, model)
