"""How fast the models of the providers answer, as a worker sees it."""

from collections.abc import Callable

from limpet_extproc.decision import speed
from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.health_states import HealthScope


class Speeds:
    """The averages by model and provider; those of one model are compared when there is something new about it."""

    def __init__(self) -> None:
        self.by_model: dict[str, dict[str, speed.AnswerSpeed]] = {}
        self.slow: dict[str, dict[str, float]] = {}
        """By model: the factors of the providers that are slow at it."""
        self._news: set[str] = set()
        self._changed: set[HealthScope] = set()

    def began(self, provider: str, model: str, timing: Timing | None, now_s: float) -> None:
        """An answer began, or came as a whole. What no worker has read the model of shows nothing."""
        if not model:
            return
        of_model = self.by_model.get(model)
        if of_model is None:
            of_model = self.by_model[model] = {}
        before = of_model.get(provider, speed.UNSEEN)
        if timing is None:
            after = speed.after_first_token(before, None, now_s, streamed=False)
        else:
            after = speed.after_first_token(before, timing.first_byte_s, now_s, streamed=timing.rest_s is not None)
        of_model[provider] = after
        self._news.add(model)
        self._changed.add((provider, model))

    def answered(self, provider: str, model: str, tokens: int, seconds: float) -> None:
        """An answer is complete, that began before."""
        of_model = self.by_model.get(model)
        if of_model is not None and (before := of_model.get(provider)) is not None:
            of_model[provider] = speed.after_output(before, tokens, seconds)

    def returned(self, provider: str) -> None:
        """The provider was out and is back."""
        for model, of_model in self.by_model.items():
            if (before := of_model.get(provider)) is not None:
                of_model[provider] = speed.after_outage(before)
                self._news.add(model)

    def take_changed(self) -> dict[HealthScope, speed.AnswerSpeed | None]:
        """Those that have changed since this was asked last; None: it was forgotten."""
        changed = {scope: self.by_model.get(scope[1], {}).get(scope[0]) for scope in self._changed}
        self._changed.clear()
        return changed

    def compare(self, now_s: float) -> None:
        """Say anew who is slow, of the models with news and of those at which someone was."""
        for model in self._news | self.slow.keys():
            factors = speed.slow_factors(self.by_model.get(model, {}), now_s)
            if factors:
                self.slow[model] = factors
            else:
                self.slow.pop(model, None)
        self._news.clear()

    def drop(self, gone: Callable[[HealthScope], bool]) -> None:
        """Forget what is gone."""
        for model in list(self.by_model):
            of_model = self.by_model[model]
            kept = {name: one for name, one in of_model.items() if not gone((name, model))}
            self._changed.update((name, model) for name in of_model.keys() - kept.keys())
            if kept:
                self.by_model[model] = kept
            else:
                del self.by_model[model]
            if model in self.slow:
                self._news.add(model)
