"""The names that dashboards stand on, and that no label can carry what a client wrote."""

from typing import Any

from prometheus_client import CollectorRegistry

from limpet_extproc.telemetry.metrics import WorkerMetrics

NAMES = {
    "limpet_decisions": ("reason",),
    "limpet_observed_decisions": ("reason",),
    "limpet_unrecognised_turns": ("model",),
    "limpet_requests": ("provider", "decision", "outcome"),
    "limpet_attempts": ("provider", "outcome"),
    "limpet_provider_timeouts": ("provider",),
    "limpet_prompt_tokens": ("provider", "model"),
    "limpet_cached_tokens": ("provider", "model"),
    "limpet_cache_unreported_tokens": ("provider", "model"),
    "limpet_cache_written_tokens": ("provider", "model"),
    "limpet_cache_written_long_tokens": ("provider", "model"),
    "limpet_cache_causes": ("provider", "model", "cause"),
    "limpet_output_tokens": ("provider", "model"),
    "limpet_reasoning_tokens": ("provider", "model"),
    "limpet_bill_usd": ("provider", "model", "policy", "rule"),
    "limpet_tenant_bill_usd": ("tenant", "rule"),
    "limpet_unbilled_requests": ("provider", "model", "why"),
    "limpet_usage_unreported": ("provider",),
    "limpet_extproc_failures": (),
    "limpet_added_seconds": (),
    "limpet_access_log_entries": ("envoy",),
    "limpet_outcome_delay_seconds": (),
    "limpet_event_loop_lag_seconds": (),
    "limpet_held_seconds": ("end",),
    "limpet_catalog_timestamp_seconds": (),
    "limpet_catalog_connected": (),
    "limpet_health_connected": (),
    "limpet_gateway_events": ("way",),
    "limpet_time_to_first_byte_seconds": ("provider", "model"),
    "limpet_request_duration_seconds": ("provider", "model"),
    "limpet_provider_out": ("provider",),
    "limpet_provider_limit_used_ratio": ("provider", "limit"),
    "limpet_provider_verdict": ("provider", "model", "verdict"),
    "limpet_provider_verdict_changes": ("provider", "verdict", "cause"),
    "limpet_first_token_seconds": ("provider", "model"),
    "limpet_output_tokens_per_second": ("provider", "model"),
    "limpet_price_window": ("provider", "model", "window"),
    "limpet_unpriced_models": ("provider",),
    "limpet_client_requests": ("client", "result"),
    "limpet_conversations": (),
}


def test_metrics_have_the_names_and_labels_that_are_documented_and_no_others() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    collectors: list[Any] = list(registry._collector_to_names)
    found = {each._name: tuple(each._labelnames) for each in collectors}
    assert found == NAMES


def test_two_workers_in_one_process_do_not_share_counters() -> None:
    one, other = WorkerMetrics(CollectorRegistry()), WorkerMetrics(CollectorRegistry())
    one.failures.inc()
    assert other.registry.get_sample_value("limpet_extproc_failures_total") == 0


def test_decisions_and_the_time_they_took_show_once() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    for _ in range(3):
        metrics.decisions.add(1, "sticky.hit")
        metrics.added_s.append(0.0002)
    for _ in range(2):
        metrics.flush()
        assert metrics.registry.get_sample_value("limpet_decisions_total", {"reason": "sticky.hit"}) == 3
        assert metrics.registry.get_sample_value("limpet_added_seconds_count") == 3


def test_limits_are_shown_while_they_are_set() -> None:
    metrics = WorkerMetrics(CollectorRegistry())
    requests, tokens = ("a", "requestsPerMinute"), ("a", "tokensPerMinute")

    def shown(labels: tuple[str, str]) -> float | None:
        found = {"provider": labels[0], "limit": labels[1]}
        return metrics.registry.get_sample_value("limpet_provider_limit_used_ratio", found)

    metrics.show_limits({requests: 0.25, tokens: 1.5})
    assert (shown(requests), shown(tokens)) == (0.25, 1.5)
    metrics.show_limits({requests: 0.5})
    assert (shown(requests), shown(tokens)) == (0.5, None)
