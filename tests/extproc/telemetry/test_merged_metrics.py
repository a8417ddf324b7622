"""The workers' metrics on one page."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from limpet_extproc.telemetry.merged_metrics import merged
from limpet_extproc.telemetry.metrics import WorkerMetrics


def page_of(decisions: int) -> str:
    """A worker's page after so many decisions of half a millisecond each."""
    metrics = WorkerMetrics(CollectorRegistry())
    metrics.decisions.add(decisions, "sticky.hit")
    metrics.added_s.extend([0.0005] * decisions)
    metrics.flush()
    return generate_latest(metrics.registry).decode()


def samples(page: bytes) -> dict[tuple[str, ...], float]:
    """By name and label values, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_every_sample_says_whose_it_is_and_nothing_else_changes() -> None:
    seen = samples(merged({0: page_of(3), 1: page_of(4)}, {1: 2}))
    for number, decisions in (("0", 3), ("1", 4)):
        assert seen["limpet_decisions_total", "sticky.hit", number] == decisions
        assert seen["limpet_added_seconds_count", number] == decisions
        assert seen["limpet_added_seconds_bucket", "0.0005", number] == decisions
        assert seen["limpet_worker_up", number] == 1
    assert seen["limpet_worker_restarts_total", "0"] == 0
    assert seen["limpet_worker_restarts_total", "1"] == 2
    of_one_worker = len(samples(page_of(3).encode()))
    assert len(seen) == 2 * of_one_worker + 4


def test_types_and_words_are_kept() -> None:
    text, alone = merged({0: page_of(1)}, {}).decode(), page_of(1)
    for line in alone.splitlines():
        if line.startswith("#") and "_created" not in line:
            assert text.count(line + "\n") == 1, line


def test_a_worker_that_says_nothing_is_down_and_hides_no_other() -> None:
    seen = samples(merged({0: None, 1: page_of(4)}, {0: 1}))
    assert (seen["limpet_worker_up", "0"], seen["limpet_worker_up", "1"]) == (0, 1)
    assert seen["limpet_decisions_total", "sticky.hit", "1"] == 4
