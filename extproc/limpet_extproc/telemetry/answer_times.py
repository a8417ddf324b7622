"""How long clients wait for answers: histograms by provider and model."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

_FIRST_BYTE_S: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
"""Most of what a prompt cache saves is below two seconds."""
_DURATION_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_Observe = Callable[[float], None]


class AnswerTimes:
    """Notes how long answers took, and hands it to the client library when flushed.

    Providers and models are those of the catalog, so clients cannot make series.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._first_byte = Histogram(
            "limpet_time_to_first_byte_seconds",
            "Seconds from a request to the first byte of its answer, or to its first token where it is streamed.",
            ["provider", "model"],
            registry=registry,
            buckets=_FIRST_BYTE_S,
        )
        self._duration = Histogram(
            "limpet_request_duration_seconds",
            "Seconds from a request to the end of its answer.",
            ["provider", "model"],
            registry=registry,
            buckets=_DURATION_S,
        )
        self._observe: dict[tuple[str, str], tuple[_Observe, _Observe]] = {}
        self._noted: list[tuple[str, str, float, float]] = []

    def add(self, provider: str, model: str, first_byte_s: float, duration_s: float) -> None:
        """A request was answered."""
        self._noted.append((provider, model, first_byte_s, duration_s))

    def flush(self) -> None:
        """Hand what was noted to the client library."""
        for provider, model, first_byte_s, duration_s in self._noted:
            observe = self._observe.get((provider, model))
            if observe is None:
                first_byte, duration = (each.labels(provider, model) for each in (self._first_byte, self._duration))
                observe = self._observe[provider, model] = (first_byte.observe, duration.observe)
            observe[0](first_byte_s)
            observe[1](duration_s)
        self._noted.clear()
