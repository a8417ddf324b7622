"""What is shown of prices: what holds now, and nothing of what is over or gone."""

from prometheus_client import CollectorRegistry

from limpet_extproc.telemetry.price_metrics import PriceMetrics


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    found = [sample for metric in registry.collect() if metric.name == name for sample in metric.samples]
    return {tuple(sample.labels.values()): sample.value for sample in found}


def test_windows_are_shown_while_they_hold() -> None:
    registry = CollectorRegistry()
    metrics = PriceMetrics(registry)
    one, other = ("a", "flash", "peak"), ("b", "flash", "night")
    metrics.show_windows(frozenset((one,)))
    metrics.show_windows(frozenset((one, other)))
    assert samples(registry, "limpet_price_window") == {one: 1.0, other: 1.0}
    metrics.show_windows(frozenset((other,)))
    assert samples(registry, "limpet_price_window") == {other: 1.0}


def test_unknown_prices_are_counted_by_provider() -> None:
    registry = CollectorRegistry()
    metrics = PriceMetrics(registry)
    metrics.show_unpriced({"a": 2, "b": 1})
    assert samples(registry, "limpet_unpriced_models") == {("a",): 2.0, ("b",): 1.0}
    metrics.show_unpriced({"b": 3})
    assert samples(registry, "limpet_unpriced_models") == {("b",): 3.0}
