"""The metrics of all workers as one page: those of each, with the label `worker`."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class _Families(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()


def merged(texts: Mapping[int, str | None], restarts: Mapping[int, int]) -> bytes:
    """One page for Prometheus from the workers' pages, by number; None: no page came in time."""
    up = GaugeMetricFamily("limpet_worker_up", "1 while the worker answers its parent.", labels=["worker"])
    restarted = CounterMetricFamily("limpet_worker_restarts", "Times a worker was started again.", labels=["worker"])
    families: dict[str, Metric] = {up.name: up, restarted.name: restarted}
    for number, text in texts.items():
        worker = {"worker": str(number)}
        up.add_metric([str(number)], float(text is not None))
        restarted.add_metric([str(number)], restarts.get(number, 0))
        for family in text_string_to_metric_families(text or ""):
            family_of_all = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                family_of_all.add_sample(sample.name, {**sample.labels, **worker}, sample.value)
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)
