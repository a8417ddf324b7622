"""How fast each model of a provider answers, as a worker measures it."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

Shown = tuple[float, float]
"""Seconds to the first token, and output tokens a second; 0: not measured."""


class SpeedMetrics:
    """The gauges about speed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = (
            Gauge(
                "limpet_first_token_seconds",
                "Seconds from the request to the first token of an answer, a moving average.",
                ["provider", "model"],
                registry=registry,
            ),
            Gauge(
                "limpet_output_tokens_per_second",
                "Output tokens a second, over the time from the request to the end of an answer, a moving average.",
                ["provider", "model"],
                registry=registry,
            ),
        )
        self._shown: dict[tuple[int, tuple[str, str]], Gauge] = {}
        """The series of each: to find one takes longer than to set it."""

    def show(self, changes: Mapping[tuple[str, str], Shown | None]) -> None:
        """Show what changed, by provider and model; None: nothing is known of it any more."""
        for labels, measured in changes.items():
            for which, gauge in enumerate(self._gauges):
                value = measured[which] if measured is not None else 0.0
                series = self._shown.get((which, labels))
                if value > 0:
                    if series is None:
                        series = self._shown[which, labels] = gauge.labels(*labels)
                    series.set(value)
                elif series is not None:
                    gauge.remove(*labels)
                    del self._shown[which, labels]
