"""What the health of providers looks like in metrics: the present verdicts, and how often they changed and why."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

_UP: Final = "up"
_VERDICTS: Final = (_UP, "degraded", "over_limit", "down")
_OUT: Final = frozenset({"over_limit", "down"})


class HealthMetrics:
    """Those of one worker. Names come from the catalog; one that never was in trouble has no series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._out_models: dict[str, set[str]] = {}
        self._out = Gauge(
            "limpet_provider_out",
            "1 while the provider, or a model there, is out: it failed several times in a row, or is over its limit.",
            ["provider"],
            registry=registry,
        )
        self._verdict = Gauge(
            "limpet_provider_verdict",
            "1 for the present verdict on a provider with all its models, or on one model there.",
            ["provider", "model", "verdict"],
            registry=registry,
        )
        self._changes = Counter(
            "limpet_provider_verdict_changes",
            "Changes of the verdict on a provider or a model there, by the new one and its cause.",
            ["provider", "verdict", "cause"],
            registry=registry,
        )

    def changed(self, provider: str, model: str, trouble: str | None, cause: str) -> None:
        """Show the new verdict; `trouble` is None for one that is up."""
        verdict = trouble or _UP
        for each in _VERDICTS:
            self._verdict.labels(provider, model, each).set(each == verdict)
        self._changes.labels(provider, verdict, cause or "none").inc()
        out = self._out_models.setdefault(provider, set())
        if verdict in _OUT:
            out.add(model)
        else:
            out.discard(model)
        self._out.labels(provider).set(bool(out))
