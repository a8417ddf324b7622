"""How long the workers take for their decisions, from the histogram that they keep. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from math import inf
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_METRIC: Final = "limpet_added_seconds"

Buckets = Mapping[float, float]
"""Decisions that took at most so many seconds, in all."""


def read_buckets(page: str) -> Buckets:
    """The histogram of a page of metrics, of all workers together."""
    counted: dict[float, float] = defaultdict(float)
    for family in text_string_to_metric_families(page):
        if family.name == _METRIC:
            for sample in family.samples:
                if sample.name == f"{_METRIC}_bucket":
                    counted[float(sample.labels["le"])] += sample.value
    return counted


def p99_ms(before: Buckets, after: Buckets) -> float | None:
    """The 99th percentile of the decisions between two readings, interpolated in its bucket; None: there were none.

    It is infinite if it lies beyond the last bound.
    """
    bounds = sorted(after)
    upto = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    if not upto or upto[-1] <= 0:
        return None
    wanted = 0.99 * upto[-1]
    lower_s = below = 0.0
    for bound, count in zip(bounds, upto, strict=True):
        if count >= wanted:
            return inf if bound == inf else 1000 * (lower_s + (bound - lower_s) * (wanted - below) / (count - below))
        lower_s, below = bound, count
    return None
