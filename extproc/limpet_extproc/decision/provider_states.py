"""The states of the providers, as a decision reads them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from limpet_extproc.decision.health import HealthState, badness, explain
from limpet_extproc.decision.learn import Learned
from limpet_extproc.decision.limits import UsedAt, nothing_used


@dataclass(frozen=True, slots=True)
class ProviderStates:
    """What this worker has learned about the providers. A provider that is simply well has no entry."""

    health: Mapping[str, HealthState] = field(default_factory=dict)
    """Of providers with all their models."""
    learned: Mapping[str, Learned] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    """What a dollar counts as there, by what was learned (`learn.factors`); 1 if absent."""
    by_model: Mapping[tuple[str, str], HealthState] = field(default_factory=dict)
    """Of one model of a provider, by both names."""
    used: UsedAt = nothing_used
    """What each provider is asked for now, for those with limits."""

    def state(self, provider: str, model: str) -> HealthState | None:
        """The worse of the states of the provider and of this model there; None if it is well."""
        whole, one = self.health.get(provider), self.by_model.get((provider, model))
        if whole is None or one is None:
            return whole or one
        return max(whole, one, key=badness)

    def problems(self, providers: Iterable[str], model: str, now_s: float) -> str:
        """What is wrong with these, for the text of an error. Empty if nothing is."""
        states = {name: self.state(name, model) for name in providers}
        out = {name: state for name, state in states.items() if state is not None and state.trouble}
        return "; ".join(explain(name, state, now_s) for name, state in out.items())
