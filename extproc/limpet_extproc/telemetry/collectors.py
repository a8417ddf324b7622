"""Counters and histograms for the path of a request.

To count costs a few additions there. What the client library's own do for each of them, such as taking a lock, is done
when a page is made: in another thread, so what that reads is copied in one step.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Count(Collector):
    """A counter: sums by labels."""

    _type: Final = "counter"

    def __init__(self, name: str, what: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._what = what
        self._labelnames = tuple(labels)
        self._sums: defaultdict[Labels, float] = defaultdict(float)
        registry.register(self)

    def add(self, amount: float, *labels: str) -> None:
        """Count `amount` under these labels. One thread only."""
        self._sums[labels] += amount

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        family = CounterMetricFamily(self._name, self._what, labels=self._labelnames)
        for labels, amount in self._sums.copy().items():
            family.add_metric(labels, amount)
        return [family]


class Spread(Collector):
    """A histogram: by labels, how many values lie up to each bound, and their sum."""

    _type: Final = "histogram"

    def __init__(
        self, name: str, what: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """`bounds` ascend. Without `labels` there is one series from the start."""
        self._name = name
        self._what = what
        self._labelnames = tuple(labels)
        self._bounds = tuple(bounds)
        self._written = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]
        self._found: dict[Labels, list[float]] = {}
        """By labels: how many lie between each two bounds, then the sum of all."""
        if not labels:
            self._found[()] = self._empty()
        registry.register(self)

    def add(self, value: float, *labels: str) -> None:
        """Count one value. One thread only."""
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = self._empty()
        found[bisect_left(self._bounds, value)] += 1
        found[-1] += value

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        family = HistogramMetricFamily(self._name, self._what, labels=self._labelnames)
        for labels, found in self._found.copy().items():
            *counts, total = found.copy()
            family.add_metric(labels, list(zip(self._written, accumulate(counts), strict=True)), total)
        return [family]

    def _empty(self) -> list[float]:
        return [0.0] * (len(self._bounds) + 2)
