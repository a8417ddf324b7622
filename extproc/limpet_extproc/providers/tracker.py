"""What a worker knows of the providers now: besides its memory the one thing that changes, piece by piece."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from limpet_extproc.decision import health, learn
from limpet_extproc.decision.choose import Known
from limpet_extproc.decision.health import UNKNOWN, State

_Key = TypeVar("_Key")

FACTORS_EVERY_S: Final = 1.0
"""A factor compares all providers, so it is not computed for each of their outcomes."""


class Providers:
    """Health and averages, fed by outcomes; `on_change` hears of a provider going out or coming back.

    A failure is held against the one model that was asked for, or against the provider with all its models, where no
    model is named. As a whole a provider is as badly off as the worst of these.
    """

    def __init__(self, on_change: Callable[[str, State], None]) -> None:
        self._health: dict[str, State] = {}
        self._whole: dict[str, State] = {}
        self._by_model: dict[tuple[str, str], State] = {}
        self._answered: dict[str, float] = {}
        self._learned: dict[str, learn.Learned] = {}
        self._factors: dict[str, float] = {}
        self._factored_s = 0.0
        self._on_change = on_change
        self.known = Known(self._whole, self._learned, self._factors, self._by_model)

    @property
    def health(self) -> Mapping[str, State]:
        """Those that something is held against, each with the worst of it."""
        return self._health

    @property
    def answered(self) -> Mapping[str, float]:
        """When each gave its last answer."""
        return self._answered

    def succeeded(self, provider: str, now_s: float, first_byte_s: float | None, model: str = "") -> None:
        """An attempt got an answer."""
        self._learn(provider, now_s, failed=False, first_byte_s=first_byte_s)
        self._answered[provider] = now_s
        if provider in self._health:
            for scope in {"", model}:
                self._set(provider, scope, health.after_success(self._state(provider, scope), now_s))

    def generated(self, provider: str, tokens: int, seconds: float) -> None:
        """An answer of so many tokens was complete `seconds` after its request."""
        self._learned[provider] = learn.after_answer(self._learned.get(provider, learn.NOTHING), tokens, seconds)

    def failed(self, provider: str, now_s: float, model: str = "") -> None:
        """An attempt got none, or one that says the provider is broken, or the model there."""
        self._learn(provider, now_s, failed=True, first_byte_s=None)
        self._set(provider, model, health.after_failure(self._state(provider, model), now_s))

    def limited(self, provider: str, now_s: float, retry_after_s: float, model: str = "") -> None:
        """An attempt was told to come back later."""
        self._set(provider, model, health.after_limit(self._state(provider, model), now_s, retry_after_s))

    def begin_trial(self, provider: str, now_s: float, model: str = "") -> None:
        """The request being decided tries this provider again."""
        for scope in {"", model}:
            state = self._state(provider, scope)
            if state.out_because is not None:
                self._set(provider, scope, health.begin_trial(state, now_s))

    def _state(self, provider: str, model: str) -> State:
        if model:
            return self._by_model.get((provider, model), UNKNOWN)
        return self._whole.get(provider, UNKNOWN)

    def _learn(self, provider: str, now_s: float, *, failed: bool, first_byte_s: float | None) -> None:
        self._learned[provider] = learn.after_attempt(self._learned.get(provider, learn.NOTHING), failed, first_byte_s)
        if now_s - self._factored_s >= FACTORS_EVERY_S:
            self._factored_s = now_s
            self._factors.clear()
            self._factors.update(learn.factors(self._learned))

    def _set(self, provider: str, model: str, state: State) -> None:
        if model:
            _keep(self._by_model, (provider, model), state)
        else:
            _keep(self._whole, provider, state)
        before = self._health.get(provider, UNKNOWN)
        states = [state, *(each for (name, _), each in self._by_model.items() if name == provider)]
        now = max((*states, self._whole.get(provider, UNKNOWN)), key=health.badness)
        _keep(self._health, provider, now)
        if before.out_because != now.out_because:
            self._on_change(provider, now)


def _keep(states: dict[_Key, State], key: _Key, state: State) -> None:
    if state == UNKNOWN:
        states.pop(key, None)
    else:
        states[key] = state
