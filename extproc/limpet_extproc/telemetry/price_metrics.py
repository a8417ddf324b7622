"""What a worker's prices are now: the windows in force, and how many models have none."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

WindowLabels = tuple[str, str, str]
"""Provider, model and window."""
_IN_FORCE: Final = 1


class PriceMetrics:
    """The gauges about prices."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._window = Gauge(
            "limpet_price_window",
            "1 for the price window of a model that holds now; none while the usual prices hold.",
            ["provider", "model", "window"],
            registry=registry,
        )
        self._unpriced = Gauge(
            "limpet_unpriced_models",
            "Models of a provider whose price is unknown, which is not the same as free.",
            ["provider"],
            registry=registry,
        )
        self._windows_shown: frozenset[WindowLabels] = frozenset()
        self._unpriced_shown: frozenset[str] = frozenset()

    def show_windows(self, in_force: frozenset[WindowLabels]) -> None:
        """Show these windows and no others."""
        for gone in self._windows_shown - in_force:
            self._window.remove(*gone)
        for labels in in_force:
            self._window.labels(*labels).set(_IN_FORCE)
        self._windows_shown = in_force

    def show_unpriced(self, models: Mapping[str, int]) -> None:
        """Show how many models of each of these providers have no price, and nothing of others."""
        for gone in self._unpriced_shown - models.keys():
            self._unpriced.remove(gone)
        for provider, number in models.items():
            self._unpriced.labels(provider).set(number)
        self._unpriced_shown = frozenset(models)
