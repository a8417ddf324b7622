"""The states of the providers, as a decision reads them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from limpet_extproc.decision.health import UP, HealthState, Judgement, badness, explain, judge, share
from limpet_extproc.decision.learn import Learned
from limpet_extproc.decision.limits import UsedAt, nothing_used


@dataclass(frozen=True, slots=True)
class ProviderStates:
    """What this worker has learned about the providers. A provider that is simply well has no entry."""

    health: Mapping[str, HealthState] = field(default_factory=dict)
    """Of providers with all their models, as traffic shows it."""
    learned: Mapping[str, Learned] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    """What a dollar counts as there, by what was learned (`learn.factors`); 1 if absent."""
    by_model: Mapping[tuple[str, str], HealthState] = field(default_factory=dict)
    """Of one model of a provider, by both names, as traffic shows it."""
    used: UsedAt = nothing_used
    """What each provider is asked for now, for those with limits."""
    probed: Mapping[tuple[str, str], HealthState] = field(default_factory=dict)
    """What probes found wrong with a provider, or with one model there (without one: with all of them)."""

    @property
    def all_well(self) -> bool:
        """Whether no provider needs a look at all."""
        return not (self.health or self.by_model or self.probed)

    def judge(self, provider: str, model: str, now_s: float) -> Judgement:
        """The verdict on this model there: the worst of traffic and probes, of the provider and of the model."""
        states = self._states(provider, model)
        return judge(states, now_s) if states else UP

    def share(self, provider: str, model: str, now_s: float) -> float:
        """Which share of its usual new conversations of this model it may take (`health.share`)."""
        return min((share(state, now_s) for state in self._states(provider, model)), default=1.0)

    def problems(self, providers: Iterable[str], model: str, now_s: float) -> str:
        """What is wrong with these, for the text of an error. Empty if nothing is."""
        worst = {name: max(self._states(name, model), key=badness, default=None) for name in providers}
        out = {name: state for name, state in worst.items() if state is not None and state.trouble}
        return "; ".join(explain(name, state, now_s) for name, state in out.items())

    def _states(self, provider: str, model: str) -> list[HealthState]:
        found = [self.health.get(provider), self.by_model.get((provider, model))]
        if self.probed:
            found += [self.probed.get((provider, "")), self.probed.get((provider, model))]
        return [state for state in found if state is not None]
