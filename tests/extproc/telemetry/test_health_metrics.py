"""What the verdicts on providers look like in metrics."""

import pytest
from prometheus_client import CollectorRegistry

from limpet_extproc.telemetry.health_metrics import HealthMetrics


class Shown:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.changed = HealthMetrics(self.registry).changed

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"provider": "a", **labels})

    def verdict(self, model: str) -> list[str]:
        words = ("up", "degraded", "over_limit", "down")
        return [word for word in words if self.value("limpet_provider_verdict", model=model, verdict=word)]


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_one_verdict_at_a_time_is_shown_for_each_model(shown: Shown) -> None:
    shown.changed("a", "m1", "degraded", "SlowFirstByte")
    shown.changed("a", "m1", "down", "ServerError")
    shown.changed("a", "", "over_limit", "Limited")
    assert (shown.verdict("m1"), shown.verdict("")) == (["down"], ["over_limit"])
    shown.changed("a", "m1", None, "")
    assert shown.verdict("m1") == ["up"]


def test_a_provider_is_out_while_it_or_any_of_its_models_is(shown: Shown) -> None:
    shown.changed("a", "m1", "degraded", "ErrorRate")
    assert shown.value("limpet_provider_out") == 0
    shown.changed("a", "m1", "down", "Timeout")
    shown.changed("a", "m2", "over_limit", "Limited")
    shown.changed("a", "m1", None, "")
    assert shown.value("limpet_provider_out") == 1
    shown.changed("a", "m2", None, "")
    assert shown.value("limpet_provider_out") == 0


def test_changes_are_counted_by_what_caused_them(shown: Shown) -> None:
    for trouble, cause in (("down", "Timeout"), (None, ""), ("down", "Timeout")):
        shown.changed("a", "m1", trouble, cause)
    count = "limpet_provider_verdict_changes_total"
    assert shown.value(count, verdict="down", cause="Timeout") == 2
    assert shown.value(count, verdict="up", cause="none") == 1
