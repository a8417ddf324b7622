"""The states of the providers, as a decision reads them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from limpet_extproc.decision.health import (
    DEFAULT_THRESHOLDS,
    UP,
    HealthState,
    Judgement,
    badness,
    explain,
    judge,
    share,
)
from limpet_extproc.decision.learn import Learned
from limpet_extproc.decision.limits import UsedAt, nothing_used
from limpet_extproc.decision.speed import SpeedOf
from limpet_extproc.decision.token_rate import TokenRates


@dataclass(frozen=True, slots=True)
class ProviderStates:
    """What this worker has learned about the providers. A provider that is simply well has no entry."""

    health: Mapping[str, HealthState] = field(default_factory=dict)
    """Of providers with all their models, as traffic shows it."""
    learned: Mapping[str, Learned] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    """What a dollar counts as there for its errors (`learn.factors`); 1 if absent."""
    by_model: Mapping[tuple[str, str], HealthState] = field(default_factory=dict)
    """Of one model of a provider, by both names, as traffic shows it."""
    used: UsedAt = nothing_used
    """What each provider is asked for now, for those with limits."""
    probed: Mapping[tuple[str, str], HealthState] = field(default_factory=dict)
    """What probes found wrong with a provider, or with one model there (without one: with all of them)."""

    failed_s: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """When each provider, or one model there, failed last or was over its limit."""
    speeds: Mapping[str, SpeedOf] = field(default_factory=dict)
    """How fast each model answers, by provider."""
    slow: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What a dollar counts as for each model at the providers that are slow at it (`speed.slow_factors`)."""
    token_rates: TokenRates = field(default_factory=dict)

    @property
    def all_well(self) -> bool:
        """Whether no provider needs a look at all."""
        return not (self.health or self.by_model or self.probed)

    def noted(self, model: str) -> Collection[str]:
        """The providers with a state of their own, or of this model there: all others are simply well."""
        names = dict.fromkeys(self.health)
        if self.by_model:
            names.update(dict.fromkeys([provider for provider, scope in self.by_model if scope == model]))
        if self.probed:
            names.update(dict.fromkeys([provider for provider, scope in self.probed if scope in ("", model)]))
        return names

    def factor(self, provider: str, model: str) -> float:
        """What a dollar counts as for this model there, by errors and speed: 1 at its best, 3 at its worst."""
        slow = self.slow.get(model)
        return self.factors.get(provider, 1.0) * (slow.get(provider, 1.0) if slow else 1.0)

    def judge(self, provider: str, model: str, now_s: float) -> Judgement:
        """The verdict on this model there: the worst of traffic and probes, of the provider and of the model."""
        states = self.of(provider, model)
        return judge(states, now_s) if states else UP

    def share(self, provider: str, model: str, now_s: float) -> float:
        """Which share of its usual new conversations of this model it may take (`health.share`)."""
        return min((share(state, now_s) for state in self.of(provider, model)), default=1.0)

    def has_been_well(self, provider: str, model: str, now_s: float) -> bool:
        """Whether this model there has neither failed nor come back for a while (`HealthThresholds.well_s`)."""
        times_s = [state.returned_s for state in self.of(provider, model)]
        times_s += [self.failed_s.get((provider, scope), 0.0) for scope in ("", model)]
        return now_s - max(times_s) >= DEFAULT_THRESHOLDS.well_s

    def problems(self, providers: Iterable[str], model: str, now_s: float) -> str:
        """What is wrong with these, for the text of an error. Empty if nothing is."""
        worst = {name: max(self.of(name, model), key=badness, default=None) for name in providers}
        out = {name: state for name, state in worst.items() if state is not None and state.trouble}
        return "; ".join(explain(name, state, now_s) for name, state in out.items())

    def of(self, provider: str, model: str) -> Sequence[HealthState]:
        """All states that concern this model there; none if it is simply well."""
        whole, one = self.health.get(provider), self.by_model.get((provider, model)) if self.by_model else None
        if not self.probed:
            if one is None:
                return () if whole is None else (whole,)
            return (one,) if whole is None else (whole, one)
        found = (whole, one, self.probed.get((provider, "")), self.probed.get((provider, model)))
        return [state for state in found if state is not None]
