"""Ratios of measurements that were taken in pairs, on a machine that does other things as well."""

from collections.abc import Iterable
from math import sqrt
from statistics import median


def middle_of(ratios: Iterable[float]) -> dict[str, float]:
    """Their `median`, and `low` and `high`, between which it lies with 95 % confidence whatever their distribution.

    Raises StatisticsError if there are none.
    """
    ordered = sorted(ratios)
    half = 0.98 * sqrt(len(ordered))
    low = max(0, int(len(ordered) / 2 - half))
    high = min(len(ordered) - 1, int(len(ordered) / 2 + half))
    return {"median": median(ordered), "low": ordered[low], "high": ordered[high]}
