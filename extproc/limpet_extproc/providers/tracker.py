"""The states of the providers as a worker sees them now: besides its memory the one thing that changes over time."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from limpet_extproc.decision import health, learn
from limpet_extproc.decision.health import HEALTHY, HealthState
from limpet_extproc.decision.limits import UsedAt, nothing_used
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.providers.events import (
    AnswerGenerated,
    AttemptFailed,
    AttemptLimited,
    AttemptSucceeded,
    ProviderEvent,
    TrialBegan,
)
from limpet_extproc.providers.upward import concerns_other_gateways

_Key = TypeVar("_Key")

FACTORS_EVERY_S: Final = 1.0
"""A factor compares all providers, so it is not computed for each of their outcomes."""


class ProviderTracker:
    """Health and averages, updated by events; `on_change` is called when a provider goes out or comes back.

    A failure counts against the one model that was asked for, or, if none is named, against the provider with all its
    models. As a whole a provider is as bad as the worst of these.
    """

    def __init__(
        self,
        on_change: Callable[[str, HealthState], None],
        on_event: Callable[[ProviderEvent], object] | None = None,
        on_concern: Callable[[ProviderEvent], object] | None = None,
        used: UsedAt = nothing_used,
    ) -> None:
        """`on_event` is called with each event that this worker has seen itself, for the workers beside the same Envoy.

        `on_concern` is called with those of them that workers beside other Envoys need, too. `used` is for `states`.
        """
        self._on_event = on_event
        self._on_concern = on_concern
        self._health: dict[str, HealthState] = {}
        self._whole: dict[str, HealthState] = {}
        self._by_model: dict[tuple[str, str], HealthState] = {}
        self._last_answer_s: dict[str, float] = {}
        self._learned: dict[str, learn.Learned] = {}
        self._factors: dict[str, float] = {}
        self._factored_s = 0.0
        self._on_change = on_change
        self.states = ProviderStates(self._whole, self._learned, self._factors, self._by_model, used)

    @property
    def health(self) -> Mapping[str, HealthState]:
        """The worst state of each provider that is not simply well."""
        return self._health

    @property
    def last_answer_s(self) -> Mapping[str, float]:
        """When each provider last answered, in Unix seconds."""
        return self._last_answer_s

    def apply(self, event: ProviderEvent) -> None:
        """Update the states by what happened here, and pass it on."""
        # Whether it was well before is the question.
        concern = self._on_concern is not None and concerns_other_gateways(
            event, well=event.provider not in self._health
        )
        self.apply_received(event)
        if self._on_event is not None:
            self._on_event(event)
        if concern and self._on_concern is not None:
            self._on_concern(event)

    def apply_received(self, event: ProviderEvent) -> None:
        """Update the states by what happened at another worker."""
        match event:
            case AttemptSucceeded(provider, now_s, first_byte_s, model):
                self._learn(provider, now_s, failed=False, first_byte_s=first_byte_s)
                self._last_answer_s[provider] = now_s
                if provider in self._health:
                    for scope in {"", model}:
                        self._set(provider, scope, HEALTHY)
            case AnswerGenerated(provider, tokens, seconds):
                learned = self._learned.get(provider, learn.NOTHING)
                self._learned[provider] = learn.after_answer(learned, tokens, seconds)
            case AttemptFailed(provider, now_s, model):
                self._learn(provider, now_s, failed=True, first_byte_s=None)
                self._set(provider, model, health.after_failure(self._state(provider, model), now_s))
            case AttemptLimited(provider, now_s, retry_after_s, model):
                state = self._state(provider, model)
                self._set(provider, model, health.after_limit(state, now_s, retry_after_s))
            case TrialBegan(provider, now_s, model):
                for scope in {"", model}:
                    state = self._state(provider, scope)
                    if state.trouble is not None:
                        self._set(provider, scope, health.begin_trial(state, now_s))

    def _state(self, provider: str, model: str) -> HealthState:
        if model:
            return self._by_model.get((provider, model), HEALTHY)
        return self._whole.get(provider, HEALTHY)

    def _learn(self, provider: str, now_s: float, *, failed: bool, first_byte_s: float | None) -> None:
        self._learned[provider] = learn.after_attempt(self._learned.get(provider, learn.NOTHING), failed, first_byte_s)
        if now_s - self._factored_s >= FACTORS_EVERY_S:
            self._factored_s = now_s
            self._factors.clear()
            self._factors.update(learn.factors(self._learned))

    def _set(self, provider: str, model: str, state: HealthState) -> None:
        if model:
            _keep(self._by_model, (provider, model), state)
        else:
            _keep(self._whole, provider, state)
        before = self._health.get(provider, HEALTHY)
        states = [state, *(each for (name, _), each in self._by_model.items() if name == provider)]
        now = max((*states, self._whole.get(provider, HEALTHY)), key=health.badness)
        _keep(self._health, provider, now)
        if before.trouble != now.trouble:
            self._on_change(provider, now)


def _keep(states: dict[_Key, HealthState], key: _Key, state: HealthState) -> None:
    if state == HEALTHY:
        states.pop(key, None)
    else:
        states[key] = state
