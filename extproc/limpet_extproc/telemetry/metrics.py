"""The metrics of the data plane, only noted on the path of a request. Labels come from closed lists and the catalog."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from limpet_extproc.telemetry.access_log_metrics import AccessLogMetrics
from limpet_extproc.telemetry.activity_metrics import ActivityMetrics
from limpet_extproc.telemetry.answer_times import AnswerTimes
from limpet_extproc.telemetry.collectors import Count, Spread
from limpet_extproc.telemetry.health_metrics import HealthMetrics
from limpet_extproc.telemetry.hold_metrics import HoldMetrics
from limpet_extproc.telemetry.price_metrics import PriceMetrics
from limpet_extproc.telemetry.speed_metrics import SpeedMetrics

_ADDED_SECONDS: Final = (0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)
_LOOP_LAG_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


_COUNTS: Final[Mapping[str, tuple[str, list[str]]]] = {
    "limpet_decisions": ("Requests by why they went where they went, or why they went nowhere.", ["reason"]),
    "limpet_observed_decisions": ("Mode Observe: requests by what Enforce would have done.", ["reason"]),
    "limpet_unrecognised_turns": (
        "Requests with a history whose conversation was not known, named by nothing but its opener.",
        ["model"],
    ),
    "limpet_requests": (
        "Ended requests by the provider that answered, the decision and the outcome.",
        ["provider", "decision", "outcome"],
    ),
    "limpet_attempts": (
        "Attempts at providers by how they ended; several may belong to one request.",
        ["provider", "outcome"],
    ),
    "limpet_provider_timeouts": ("Attempts that the provider's own timeouts ended.", ["provider"]),
    "limpet_prompt_tokens": ("Prompt tokens that providers reported.", ["provider", "model"]),
    "limpet_cached_tokens": (
        "Prompt tokens that providers reported to have read from their caches.",
        ["provider", "model"],
    ),
    "limpet_cache_unreported_tokens": (
        "Prompt tokens of answers that did not say how many of them came from the cache; no part of a hit rate.",
        ["provider", "model"],
    ),
    "limpet_cache_written_tokens": (
        "Prompt tokens that providers reported to have written to their caches.",
        ["provider", "model"],
    ),
    "limpet_cache_written_long_tokens": (
        "Prompt tokens that providers reported to have written to their caches for an hour or longer.",
        ["provider", "model"],
    ),
    "limpet_cache_causes": (
        "Turns of conversations by why they read from a prompt cache what they read.",
        ["provider", "model", "cause"],
    ),
    "limpet_reasoning_tokens": (
        "Output tokens that providers reported to have spent on reasoning.",
        ["provider", "model"],
    ),
    "limpet_output_tokens": ("Output tokens that providers reported.", ["provider", "model"]),
    "limpet_bill_usd": (
        "Dollars of answered requests: paid, and what other rules would have paid for the same requests.",
        ["provider", "model", "policy", "rule"],
    ),
    "limpet_tenant_bill_usd": (
        "Dollars of answered requests by tenant: the first few hundred of a worker, then `other`.",
        ["tenant", "rule"],
    ),
    "limpet_client_requests": (
        "Requests by the client whose key they have, and what became of them: `routed`, or why they were refused.",
        ["client", "result"],
    ),
    "limpet_unbilled_requests": (
        "Answered requests whose dollars are not known, or not exactly, by why.",
        ["provider", "model", "why"],
    ),
    "limpet_usage_unreported": ("Answers without token usage, which is not the same as nothing cached.", ["provider"]),
}
"""Name, help and labels of what is counted on the path of a request."""


class WorkerMetrics:
    """The metrics of one worker. Call `flush` now and then."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        counts = {name: Count(name, what, labels, registry) for name, (what, labels) in _COUNTS.items()}
        self.decisions = counts["limpet_decisions"]
        self.observed_decisions = counts["limpet_observed_decisions"]
        self.unrecognised = counts["limpet_unrecognised_turns"]
        self.requests = counts["limpet_requests"]
        self.attempts = counts["limpet_attempts"]
        self.timeouts = counts["limpet_provider_timeouts"]
        self.prompt_tokens = counts["limpet_prompt_tokens"]
        self.cached_tokens = counts["limpet_cached_tokens"]
        self.cache_unreported = counts["limpet_cache_unreported_tokens"]
        self.written_tokens = counts["limpet_cache_written_tokens"]
        self.written_long_tokens = counts["limpet_cache_written_long_tokens"]
        self.cache_causes = counts["limpet_cache_causes"]
        self.output_tokens = counts["limpet_output_tokens"]
        self.reasoning_tokens = counts["limpet_reasoning_tokens"]
        self.unreported = counts["limpet_usage_unreported"]
        self.bill_usd = counts["limpet_bill_usd"]
        self.tenant_bill_usd = counts["limpet_tenant_bill_usd"]
        self.client_requests = counts["limpet_client_requests"]
        self.unbilled = counts["limpet_unbilled_requests"]
        self.added_s: list[float] = []
        """Seconds from Envoy's message to our answer, since the last flush."""
        self._added_seconds = Spread(
            "limpet_added_seconds",
            "Seconds that ext_proc takes for a decision, from Envoy's message to the answer.",
            (),
            _ADDED_SECONDS,
            registry,
        )
        self.loop_lag = Spread(
            "limpet_event_loop_lag_seconds",
            "Seconds by which the worker's event loop is late: it was busy, or had no processor.",
            (),
            _LOOP_LAG_S,
            registry,
        )
        self.access_log = AccessLogMetrics(registry)
        self.failures = Counter(
            "limpet_extproc_failures",
            "Requests and log entries that an error in Limpet left undecided or unused.",
            registry=registry,
        )
        self.catalog_time = Gauge(
            "limpet_catalog_timestamp_seconds",
            "Unix time at which the catalog in force arrived.",
            registry=registry,
        )
        self.catalog_connected = Gauge(
            "limpet_catalog_connected", "1 while the worker is connected to the control plane.", registry=registry
        )
        self.health_connected = Gauge(
            "limpet_health_connected",
            "1 while the worker has a health stream to the control plane.",
            registry=registry,
        )
        self.gateway_events = Counter(
            "limpet_gateway_events",
            "Events on providers that were sent to other gateways, received from them, dropped or unreadable.",
            ["way"],
            registry=registry,
        )
        self.answer_times = AnswerTimes(registry)
        self.health = HealthMetrics(registry)
        self.holds = HoldMetrics(registry)
        self.prices = PriceMetrics(registry)
        self.speeds = SpeedMetrics(registry)
        self._limit_used = Gauge(
            "limpet_provider_limit_used_ratio",
            "Share of a provider's limit that is used, as this worker knows it; 1: the provider is full.",
            ["provider", "limit"],
            registry=registry,
        )
        self._limits_shown: AbstractSet[tuple[str, str]] = frozenset()
        self.conversations = Gauge("limpet_conversations", "Conversations in this worker's memory.", registry=registry)

    def activity(self) -> ActivityMetrics:
        """Those of handing records over, for a worker that does; to be called once."""
        return ActivityMetrics(self.registry)

    def show_limits(self, used: Mapping[tuple[str, str], float]) -> None:
        """Show how much of each limit is used, by provider and limit, and nothing of others."""
        for gone in self._limits_shown - used.keys():
            self._limit_used.remove(*gone)
        for labels, ratio in used.items():
            self._limit_used.labels(*labels).set(ratio)
        self._limits_shown = used.keys()

    def flush(self) -> None:
        """Count what was noted in `added_s`; on the thread that notes."""
        for seconds in self.added_s:
            self._added_seconds.add(seconds)
        self.added_s.clear()
