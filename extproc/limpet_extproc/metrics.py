"""What the data plane counts. Hot-path children are bound once; labels come from closed lists and the catalog."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ADDED_SECONDS = (0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0)


class Bound:
    """The children of a counter by their labels, looked up in the client library once each."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._inc: dict[tuple[str, ...], Callable[[float], None]] = {}

    def add(self, amount: float, *labels: str) -> None:
        """Count `amount` under these labels."""
        inc = self._inc.get(labels)
        if inc is None:
            inc = self._inc[labels] = self._counter.labels(*labels).inc
        inc(amount)


class Metrics:
    """The metrics of one worker, in the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.decisions = Counter(
            "limpet_decisions", "Requests by why they went where they went.", ["reason"], registry=registry
        )
        self.would = Counter(
            "limpet_observed_decisions",
            "Mode Observe: requests by what Enforce would have done.",
            ["reason"],
            registry=registry,
        )
        self.requests = Counter(
            "limpet_requests",
            "Ended requests by the provider that answered.",
            ["provider", "decision", "outcome"],
            registry=registry,
        )
        self.attempts = Counter(
            "limpet_attempts",
            "Attempts at a provider; several may belong to one request.",
            ["provider", "outcome"],
            registry=registry,
        )
        self.prompt_tokens = Counter(
            "limpet_prompt_tokens", "Prompt tokens that providers reported.", ["provider", "model"], registry=registry
        )
        self.cached_tokens = Counter(
            "limpet_cached_tokens",
            "Of these, read from the provider's cache.",
            ["provider", "model"],
            registry=registry,
        )
        self.output_tokens = Counter(
            "limpet_output_tokens", "Output tokens that providers reported.", ["provider", "model"], registry=registry
        )
        self.unreported = Counter(
            "limpet_usage_unreported",
            "Answers without usage; not the same as nothing cached.",
            ["provider"],
            registry=registry,
        )
        self.failures = Counter(
            "limpet_extproc_failures", "Requests let through undecided by an error of ours.", registry=registry
        )
        self.added_seconds = Histogram(
            "limpet_added_seconds", "From Envoy's message to our answer.", registry=registry, buckets=_ADDED_SECONDS
        )
        self.catalog_time = Gauge(
            "limpet_catalog_timestamp_seconds",
            "When the catalog in force arrived; age is now minus this.",
            registry=registry,
        )
        self.catalog_connected = Gauge(
            "limpet_catalog_connected", "1 while the control plane is there.", registry=registry
        )
        self.out = Gauge(
            "limpet_provider_out", "1 while traffic has taken the provider out.", ["provider"], registry=registry
        )
        self.conversations = Gauge("limpet_conversations", "Conversations in this worker's memory.", registry=registry)
        self.observe_added = self.added_seconds.observe
