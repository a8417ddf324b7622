"""The 99th percentile of decisions, from the workers' histograms."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from limpet_lab.bench.faults.decision_times import Buckets, p99_ms, read_buckets


def test_a_page_of_metrics_is_read_for_all_workers_together() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("limpet_added_seconds", "x", ["worker"], registry=registry, buckets=(0.001, 0.01))
    for worker, seconds in (("0", 0.0005), ("1", 0.0005), ("1", 0.005), ("1", 2.0)):
        histogram.labels(worker).observe(seconds)
    assert read_buckets(generate_latest(registry).decode()) == {0.001: 2, 0.01: 3, inf: 4}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, None),
        ({0.01: 5, inf: 5}, {0.01: 5, inf: 5}, None),
        ({}, {0.01: 100, inf: 100}, 9.9),
        ({0.01: 100, 0.05: 100, inf: 100}, {0.01: 198, 0.05: 200, inf: 200}, 30.0),
        ({}, {0.01: 98, inf: 100}, inf),
    ],
)
def test_it_is_of_the_decisions_between_two_readings(before: Buckets, after: Buckets, expected: float | None) -> None:
    assert p99_ms(before, after) == (expected if expected is None else pytest.approx(expected))
