"""The states of the providers as a worker sees them now: besides its memory the one thing that changes over time."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from limpet_extproc.contract.attempt import NOT_REACHED, OF_THE_PROVIDER, SETTLED_BY_PEOPLE, Cause
from limpet_extproc.contract.catalog import CatalogProvider
from limpet_extproc.contract.health_stream import Probed
from limpet_extproc.decision import error_rate, health_changes, learn, slowness
from limpet_extproc.decision.health import HEALTHY
from limpet_extproc.decision.limits import UsedAt, nothing_used
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.speed import AnswerSpeed
from limpet_extproc.decision.token_rate import after_prompt
from limpet_extproc.providers.complaints import HEARD_LATE_S
from limpet_extproc.providers.disputes import Disputes
from limpet_extproc.providers.events import (
    AnswerGenerated,
    AttemptFailed,
    AttemptLimited,
    AttemptSucceeded,
    ProviderDegraded,
    ProviderEvent,
    RequestRefused,
    TrialBegan,
    TrialEnded,
)
from limpet_extproc.providers.health_states import HealthChange, HealthScope, HealthStates, by_probe
from limpet_extproc.providers.speeds import Speeds

_Key = TypeVar("_Key")
_TELL_ONLY_IF_NEWS: Final = (AttemptSucceeded, AnswerGenerated, RequestRefused, TrialEnded)

FACTORS_EVERY_S: Final = 1.0
"""A factor compares all providers, so it is not computed for each of their outcomes."""

_SAME_PROBE_S: Final = 0.5
"""Good probes that were sent no further apart are one that was told twice: ages arrive a little late."""


class ProviderTracker:
    """Health and averages, updated by events. The worse of what traffic and probes show is what decisions see.

    A failure counts against the one model that was asked for, or, by its cause, against the provider with all its
    models.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        on_change: Callable[[HealthChange], None],
        *,
        to_siblings: Callable[[ProviderEvent], object] | None = None,
        to_gateways: Callable[[ProviderEvent], object] | None = None,
        used: UsedAt = nothing_used,
    ) -> None:
        """`to_siblings` is called with each event that this worker has seen itself.

        `to_gateways` gets what workers beside other Envoys need of them: all but answers that changed no state. After
        a failure the next answer does: without it, single failures would look like failures in a row from afar.
        `used` is for `states`.
        """
        self._clock = clock
        self._health = HealthStates(on_change)
        self._to_siblings = to_siblings
        self._to_gateways = to_gateways
        self._good_probe_s: dict[HealthScope, float] = {}
        self._windows: dict[HealthScope, error_rate.ErrorWindow] = {}
        """Of those with a failure in it; for all others it is cheaper to note when they answered."""
        self._calm: defaultdict[HealthScope, deque[float]] = defaultdict(_last_answers)
        self._paces: dict[HealthScope, slowness.UsualPace] = {}
        self._last_answer_s: dict[HealthScope, float] = {}
        self._last_asked_s: dict[HealthScope, float] = {}
        self._failed_s: dict[HealthScope, float] = {}
        self._disputes = Disputes()
        self._learned: dict[str, learn.Learned] = {}
        self._factors: dict[str, float] = {}
        self._factored_s = 0.0
        self._speeds = Speeds()
        self._token_rates: dict[str, float] = {}
        self.states = ProviderStates(
            self._health.whole,
            self._learned,
            self._factors,
            self._health.by_model,
            used,
            self._health.probed,
            self._failed_s,
            self._speeds.by_model,
            self._speeds.slow,
            self._token_rates,
        )

    @property
    def last_answer_s(self) -> Mapping[tuple[str, str], float]:
        """When each provider last answered a request for each model; without a model: for any."""
        return self._last_answer_s

    @property
    def last_asked_s(self) -> Mapping[tuple[str, str], float]:
        """When the last outcome of each model of each provider was seen, here or at another worker."""
        return self._last_asked_s

    def take_speeds(self) -> Mapping[HealthScope, AnswerSpeed | None]:
        """The speeds that have changed since this was asked last; None: nothing is known any more."""
        return self._speeds.take_changed()

    def apply(self, event: ProviderEvent) -> None:
        """Update the states by what happened here, and pass it on."""
        changed = self._apply(event, of_this_gateway=True)
        if self._to_siblings is not None:
            self._to_siblings(event)
        if self._to_gateways is not None and (changed or not isinstance(event, _TELL_ONLY_IF_NEWS)):
            self._to_gateways(event)

    def answered(self, answer: AttemptSucceeded, generated: AnswerGenerated | None) -> None:
        """`apply` both, of one answer: what nearly every request brings."""
        changed = self._succeeded(answer, self._clock(), of_this_gateway=True)
        if generated is not None:
            self._generated(generated)
        if self._to_siblings is not None:
            self._to_siblings(answer)
            if generated is not None:
                self._to_siblings(generated)
        if changed and self._to_gateways is not None:
            self._to_gateways(answer)

    def apply_received(self, event: ProviderEvent) -> None:
        """Update the states by what happened at another worker beside this Envoy."""
        self._apply(event, of_this_gateway=True)

    def apply_relayed(self, event: ProviderEvent) -> None:
        """Update the states by what happened beside another Envoy, whose answers are mostly not passed on.

        So neither the share of failures nor the speed can be told from such events.
        """
        now_s = self._clock()
        scopes = _held_against(event)
        out = [scope for scope in scopes if self._health.state(scope).trouble is not None]
        if any(self._disputes.found_well(scope, now_s) for scope in scopes):
            return
        if any(self._disputes.heard_enough(scope) for scope in out):
            return
        if self._apply(event, of_this_gateway=False) and not isinstance(event, TrialBegan):
            for scope in out:
                self._disputes.heard(scope, now_s)

    def take_probed(self, probed: Sequence[Probed], valid_s: float) -> None:
        """Take the verdicts of all probes, in the place of those before. They lapse after `valid_s`."""
        now_s = self._clock()
        verdicts = {(each.provider, each.model): by_probe(each, now_s, valid_s) for each in probed}
        self._health.take_probed(verdicts, now_s)
        for each in probed:
            if each.good_age_s is not None:
                self._take_good(each, now_s, each.good_age_s)

    def _take_good(self, probed: Probed, now_s: float, age_s: float) -> None:
        """A good probe is a trial that went well, of the provider and of the model that it asked for."""
        by_model, subject = bool(probed.model), (probed.provider, probed.model)
        is_new = now_s - age_s > self._good_probe_s.get(subject, 0.0) + _SAME_PROBE_S
        self._good_probe_s[subject] = now_s - age_s
        for scope in dict.fromkeys(((probed.provider, ""), subject)):
            state = self._health.state(scope)
            if state.trouble is None or now_s < state.until_s:
                continue
            if state.trouble == "degraded" and not (by_model and is_new):
                continue
            if state.cause in SETTLED_BY_PEOPLE and not by_model and probed.since_s < state.since_s - HEARD_LATE_S:
                # A path that was answered all the while needs no key.
                continue
            failing = error_rate.still_failing(self._windows.get(scope, error_rate.EMPTY_WINDOW))
            after = health_changes.after_success(state, now_s, age_s, failing=failing)
            self._health.set(scope, after, now_s)
            if after.trouble is None:
                self._forgive(probed.provider, now_s)

    def sweep(self) -> None:
        """Drop what is over: verdicts of probes, limits, returns long ago, factors of old failures. Once a second."""
        now_s = self._clock()
        self._disputes.sweep(now_s)
        self._health.sweep(now_s)
        if self._factors or self._speeds.slow:
            self._factor(now_s)

    def keep(self, providers: Mapping[str, CatalogProvider]) -> None:
        """Forget what is known of all but these providers, and of the models that they serve no longer."""

        def gone(scope: HealthScope) -> bool:
            provider = providers.get(scope[0])
            return provider is None or bool(scope[1] and all(model.name != scope[1] for model in provider.models))

        self._health.forget(gone, self._clock())
        _drop(self._windows, gone)
        _drop(self._calm, gone)
        _drop(self._paces, gone)
        self._disputes.drop(gone)
        _drop(self._last_answer_s, gone)
        _drop(self._last_asked_s, gone)
        _drop(self._failed_s, gone)
        _drop(self._good_probe_s, gone)
        _drop(self._learned, lambda provider: provider not in providers)
        _drop(self._factors, lambda provider: provider not in providers)
        self._speeds.drop(gone)
        served = {model.name for provider in providers.values() for model in provider.models}
        _drop(self._token_rates, lambda model: model not in served)

    def _apply(self, event: ProviderEvent, *, of_this_gateway: bool) -> bool:
        """Whether it changed the state of the provider or of the model."""
        now_s = self._clock()
        changed = False
        match event:
            case AttemptSucceeded():
                changed = self._succeeded(event, now_s, of_this_gateway=of_this_gateway)
            case AnswerGenerated():
                self._generated(event)
            case AttemptFailed():
                changed = self._failed(event, now_s, of_this_gateway=of_this_gateway)
            case AttemptLimited():
                changed = self._limited(event, now_s, of_this_gateway=of_this_gateway)
            case RequestRefused(provider, model, age_s):
                changed = self._answers((provider, ""), now_s, age_s, of_this_gateway=of_this_gateway)
                changed |= self._end_trial((provider, model), now_s)
            case TrialBegan(provider, model):
                for scope in {(provider, ""), (provider, model)}:
                    changed |= self._health.set(
                        scope, health_changes.begin_trial(self._health.state(scope), now_s), now_s
                    )
            case TrialEnded(provider, model):
                changed = self._end_trial((provider, ""), now_s) | self._end_trial((provider, model), now_s)
            case ProviderDegraded(provider, model, cause):
                scope = (provider, model)
                changed = self._health.set(
                    scope, health_changes.degraded(self._health.state(scope), now_s, cause), now_s
                )
        return changed

    def _answers(
        self, scope: HealthScope, now_s: float, age_s: float, *, of_this_gateway: bool, slow: bool = False
    ) -> bool:
        state = before = self._health.state(scope)
        if before is HEALTHY and not self._disputes.known:
            return False  # nearly always
        if not of_this_gateway and self._disputes.found_unwell(scope, now_s):
            return False
        changed = False
        if before is not HEALTHY:
            failing = error_rate.still_failing(self._windows.get(scope, error_rate.EMPTY_WINDOW))
            state = health_changes.after_success(before, now_s, age_s, slow=slow, failing=failing)
            changed = self._health.set(scope, state, now_s)
        returned = before.trouble is not None and state.trouble is None
        if returned:
            self._forgive(scope[0], now_s)
        if of_this_gateway:
            self._disputes.answered(scope, now_s, returned=returned)
        elif returned:
            self._disputes.told_well(scope, now_s)
        return changed

    def _is_reached(self, event: AttemptFailed | AttemptLimited, now_s: float, *, of_this_gateway: bool) -> bool:
        """Whether an answer, be it a bad one, ends what was held against the provider's address."""
        whole = (event.provider, "")
        return self._health.state(whole).cause in NOT_REACHED and self._answers(
            whole, now_s, event.age_s, of_this_gateway=of_this_gateway
        )

    def _end_trial(self, scope: HealthScope, now_s: float) -> bool:
        return self._health.set(scope, health_changes.end_trial(self._health.state(scope)), now_s)

    def _limited(self, event: AttemptLimited, now_s: float, *, of_this_gateway: bool) -> bool:
        scope = (event.provider, event.model)
        self._last_asked_s[scope] = self._failed_s[scope] = now_s
        changed = self._is_reached(event, now_s, of_this_gateway=of_this_gateway)
        state = health_changes.after_limit(
            self._health.state(scope), now_s, event.retry_after_s, event.cause, event.age_s
        )
        changed |= self._health.set(scope, state, now_s)
        if of_this_gateway:
            self._disputes.failed(scope, now_s)
            self._count(scope, now_s, failed=True)
        return changed

    def _failed(self, event: AttemptFailed, now_s: float, *, of_this_gateway: bool) -> bool:
        scope = (event.provider, "" if event.cause in OF_THE_PROVIDER else event.model)
        self._last_asked_s[event.provider, event.model] = now_s
        answered = event.cause not in OF_THE_PROVIDER and event.cause not in ("Timeout", "")
        changed = answered and self._is_reached(event, now_s, of_this_gateway=of_this_gateway)
        before = self._health.state(scope)
        state = health_changes.after_failure(before, now_s, event.cause, event.age_s, conversation=event.conversation)
        changed |= self._health.set(scope, state, now_s)
        if not health_changes.repeats(before, event.conversation):
            self._failed_s[scope] = now_s
            if of_this_gateway:
                self._disputes.failed(scope, now_s)
                self._learn(event.provider, now_s, failed=True)
                self._count(scope, now_s, failed=True, conversation=event.conversation)
        return changed

    def _succeeded(self, event: AttemptSucceeded, now_s: float, *, of_this_gateway: bool) -> bool:
        provider, timing = event.provider, event.timing
        whole, one = (provider, ""), (provider, event.model)
        scopes = (whole, one) if event.model else (whole,)
        self._last_answer_s[whole] = self._last_answer_s[one] = self._last_asked_s[one] = now_s
        pace = self._paces.get(one, slowness.UNKNOWN_PACE)
        slow = False
        if timing is not None:
            pace = slowness.after_answer(pace, now_s, timing)
            slow = slowness.is_slow_still(pace, now_s)
        changed = False
        if not self._health.all_well or self._disputes.known:
            for scope in scopes:
                changed |= self._answers(
                    scope, now_s, event.age_s, of_this_gateway=of_this_gateway, slow=slow and scope == one
                )
        if of_this_gateway:
            self._speeds.began(provider, event.model, timing, now_s)
            self._learn(provider, now_s, failed=False)
            for scope in scopes:
                self._count(scope, now_s, failed=False)
            self._paces[one] = pace
            if slow and (cause := slowness.why_slow(pace)):
                self._degrade(one, now_s, cause)
        return changed

    def _generated(self, event: AnswerGenerated) -> None:
        model = event.model
        self._speeds.answered(event.provider, model, event.tokens, event.seconds)
        rate = after_prompt(self._token_rates.get(model), event.estimated_tokens, event.prompt_tokens)
        if model and rate is not None:
            self._token_rates[model] = rate

    def _count(self, scope: HealthScope, now_s: float, *, failed: bool, conversation: str = "") -> None:
        window = self._windows.get(scope)
        if window is None:
            calm = self._calm[scope]
            if not failed:
                calm.append(now_s)
                return
            window = error_rate.calm_window(calm)
        window = self._windows[scope] = error_rate.with_attempt(window, now_s, failed=failed, conversation=conversation)
        if failed:
            if error_rate.too_many(window):
                self._degrade(scope, now_s, "ErrorRate")
        elif not any(window.failed):
            del self._windows[scope]
            self._calm[scope].extend(window.at_s)

    def _degrade(self, scope: HealthScope, now_s: float, cause: Cause) -> None:
        if self._health.state(scope).trouble is not None:
            return
        self._windows.pop(scope, None)
        self._calm.pop(scope, None)
        self._health.set(scope, health_changes.degraded(self._health.state(scope), now_s, cause), now_s)
        if self._to_gateways is not None:
            self._to_gateways(ProviderDegraded(*scope, cause))

    def _learn(self, provider: str, now_s: float, *, failed: bool) -> None:
        self._learned[provider] = learn.after_attempt(self._learned.get(provider, learn.NOTHING), failed, now_s)
        if now_s - self._factored_s >= FACTORS_EVERY_S:
            self._factor(now_s)

    def _forgive(self, provider: str, now_s: float) -> None:
        """What made it go out would keep new conversations away after its return, too."""
        if (learned := self._learned.get(provider)) is not None:
            self._learned[provider] = learn.after_return(learned)
            self._speeds.returned(provider)
            self._factor(now_s)

    def _factor(self, now_s: float) -> None:
        self._factored_s = now_s
        self._factors.clear()
        self._factors.update(learn.factors(self._learned, now_s))
        self._speeds.compare(now_s)


def _last_answers() -> deque[float]:
    return deque(maxlen=error_rate.DEFAULT_RATE.attempts)


def _held_against(event: ProviderEvent) -> tuple[HealthScope, ...]:
    """Whose state this may make worse, or keep from being tried."""
    match event:
        case AttemptFailed(provider, model, cause):
            return ((provider, "" if cause in OF_THE_PROVIDER else model),)
        case AttemptLimited(provider, model) | ProviderDegraded(provider, model):
            return ((provider, model),)
        case TrialBegan(provider, model):
            return (provider, ""), (provider, model)
        case _:
            return ()


def _drop(known: dict[_Key, Any], gone: Callable[[_Key], bool]) -> None:
    for key in [key for key in known if gone(key)]:
        del known[key]
