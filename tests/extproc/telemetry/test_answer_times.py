"""How long clients wait, by provider and model."""

from prometheus_client import CollectorRegistry

from limpet_extproc.telemetry.answer_times import AnswerTimes


def test_what_is_noted_shows_at_once() -> None:
    registry = CollectorRegistry()
    times, labels = AnswerTimes(registry), {"provider": "alpha", "model": "small"}
    times.add("alpha", "small", 0.3, 3.0)
    times.add("alpha", "small", 0.4, 700.0)
    times.add("beta", "small", 0.1, 1.0)

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"limpet_{name}", {**labels, **more})

    assert value("time_to_first_byte_seconds_bucket", le="0.35") == 1
    assert value("time_to_first_byte_seconds_count") == 2
    assert value("time_to_first_byte_seconds_sum") == 0.7
    assert value("request_duration_seconds_bucket", le="600.0") == 1
    assert value("request_duration_seconds_count") == 2
