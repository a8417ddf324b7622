"""The metrics of probes; the registry is the caller's."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from limpet_operator.probe.outcome import Outcome


@dataclass(frozen=True, slots=True)
class ProbeMetrics:
    """By provider. `outcome` is the verdict that a probe speaks for in lower case, `unclear` or `not_sent`."""

    probes: Counter
    usd: Counter
    unpriced: Counter


def build_probe_metrics(registry: CollectorRegistry) -> ProbeMetrics:
    """Register them. A registry can hold them once."""
    return ProbeMetrics(
        probes=Counter("limpet_probes", "Probes that have ended", ["provider", "outcome"], registry=registry),
        usd=Counter(
            "limpet_probe_usd", "Dollars that completions for probes have cost", ["provider"], registry=registry
        ),
        unpriced=Counter(
            "limpet_probes_unpriced",
            "Completions for probes whose cost is not known and not in limpet_probe_usd",
            ["provider"],
            registry=registry,
        ),
    )


def count(metrics: ProbeMetrics, provider: str, outcome: Outcome, usd: float | None) -> None:
    """One probe has ended; `usd` is what it cost, None if that is not known."""
    word = "not_sent" if outcome.not_sent else (outcome.level or "unclear").lower()
    metrics.probes.labels(provider, word).inc()
    if usd is None:
        metrics.unpriced.labels(provider).inc()
    elif usd:
        metrics.usd.labels(provider).inc(usd)
