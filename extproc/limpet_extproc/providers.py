"""What a worker knows of the providers now: besides its memory the one thing that changes, piece by piece."""

from collections.abc import Callable, Mapping
from typing import Final

from limpet_extproc import health, learn
from limpet_extproc.choose import Known
from limpet_extproc.health import UNKNOWN, State

FACTORS_EVERY_S: Final = 1.0
"""A factor compares all providers, so it is not computed for each of their outcomes."""


class Providers:
    """Health and averages by provider, fed by outcomes; `on_change` hears of a provider going out or coming back."""

    def __init__(self, on_change: Callable[[str, State], None]) -> None:
        self._health: dict[str, State] = {}
        self._answered: dict[str, float] = {}
        self._learned: dict[str, learn.Learned] = {}
        self._factors: dict[str, float] = {}
        self._factored_s = 0.0
        self._on_change = on_change
        self.known = Known(self._health, self._learned, self._factors)

    @property
    def health(self) -> Mapping[str, State]:
        """Those that something is held against."""
        return self._health

    @property
    def answered(self) -> Mapping[str, float]:
        """When each gave its last answer."""
        return self._answered

    def succeeded(self, provider: str, now_s: float, first_byte_s: float | None) -> None:
        """An attempt got an answer."""
        self._learn(provider, now_s, failed=False, first_byte_s=first_byte_s)
        self._answered[provider] = now_s
        if provider in self._health:
            self._set(provider, health.after_success(self._health[provider], now_s))

    def failed(self, provider: str, now_s: float) -> None:
        """An attempt got none, or one that says the provider is broken."""
        self._learn(provider, now_s, failed=True, first_byte_s=None)
        self._set(provider, health.after_failure(self._health.get(provider, UNKNOWN), now_s))

    def limited(self, provider: str, now_s: float, retry_after_s: float) -> None:
        """An attempt was told to come back later."""
        self._set(provider, health.after_limit(self._health.get(provider, UNKNOWN), now_s, retry_after_s))

    def begin_trial(self, provider: str, now_s: float) -> None:
        """The request being decided tries this provider again."""
        self._health[provider] = health.begin_trial(self._health[provider], now_s)

    def _learn(self, provider: str, now_s: float, *, failed: bool, first_byte_s: float | None) -> None:
        self._learned[provider] = learn.after_attempt(self._learned.get(provider, learn.NOTHING), failed, first_byte_s)
        if now_s - self._factored_s >= FACTORS_EVERY_S:
            self._factored_s = now_s
            self._factors.clear()
            self._factors.update(learn.factors(self._learned))

    def _set(self, provider: str, state: State) -> None:
        before = self._health.get(provider, UNKNOWN)
        if state == UNKNOWN:
            self._health.pop(provider, None)
        else:
            self._health[provider] = state
        if before.out_because != state.out_because:
            self._on_change(provider, state)
