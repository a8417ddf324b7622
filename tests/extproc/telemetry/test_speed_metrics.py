"""Speeds are shown where they are known, and no longer than that."""

from prometheus_client import CollectorRegistry

from limpet_extproc.telemetry.speed_metrics import SpeedMetrics


def test_what_is_not_measured_or_forgotten_has_no_series() -> None:
    registry = CollectorRegistry()
    metrics = SpeedMetrics(registry)

    def shown(model: str) -> tuple[float | None, float | None]:
        labels = {"provider": "a", "model": model}
        first, output = (
            registry.get_sample_value(name, labels)
            for name in ("limpet_first_token_seconds", "limpet_output_tokens_per_second")
        )
        return first, output

    metrics.show({("a", "small"): (0.25, 90.0), ("a", "large"): (2.0, 0.0)})
    assert (shown("small"), shown("large")) == ((0.25, 90.0), (2.0, None))
    metrics.show({("a", "large"): (2.5, 20.0)})
    assert (shown("small"), shown("large")) == ((0.25, 90.0), (2.5, 20.0))
    metrics.show({("a", "small"): None, ("a", "never"): None})
    assert (shown("small"), shown("large")) == ((None, None), (2.5, 20.0))
