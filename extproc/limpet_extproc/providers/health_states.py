"""The health of each provider and of each model there, as a worker knows it now: by its traffic, and by its probes."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, TypeVar

import msgspec

from limpet_extproc.contract.catalog import Trouble
from limpet_extproc.contract.health_stream import Probed, Verdict
from limpet_extproc.decision import health_changes
from limpet_extproc.decision.health import HEALTHY, HealthState, Judgement, judge

_StateKey = TypeVar("_StateKey")
HealthScope: TypeAlias = tuple[str, str]
"""A provider and one of its models; without a model: the provider with all of them."""

_BY_PROBE: Final[Mapping[Verdict, Trouble | None]] = {
    "Up": None,
    "Degraded": "degraded",
    "Limited": "over_limit",
    "Down": "down",
}


class HealthChange(msgspec.Struct, frozen=True, gc=False):
    """A provider, or one model there, went out, came back, or is in other trouble than before."""

    provider: str
    model: str
    """Empty: the provider with all its models."""
    before: Trouble | None
    now: Judgement


class HealthStates:
    """The states of all that is not simply well. The worse of what traffic and probes show is the verdict."""

    def __init__(self, on_change: Callable[[HealthChange], None]) -> None:
        """`on_change` is called whenever a verdict changes."""
        self._on_change = on_change
        self.whole: dict[str, HealthState] = {}
        """Of providers with all their models, by traffic."""
        self.by_model: dict[HealthScope, HealthState] = {}
        """Of one model of a provider, by traffic."""
        self.probed: dict[HealthScope, HealthState] = {}
        """By probes."""

    @property
    def all_well(self) -> bool:
        """Whether traffic shows nothing of any; nearly always."""
        return not (self.whole or self.by_model)

    def state(self, scope: HealthScope) -> HealthState:
        """What traffic shows."""
        provider, model = scope
        return (self.by_model.get(scope) if model else self.whole.get(provider)) or HEALTHY

    def set(self, scope: HealthScope, state: HealthState, now_s: float) -> bool:
        """Put what traffic shows in the place of what it showed; whether this is another state than before."""
        if state == self.state(scope):
            return False
        before = self._judge(scope, now_s)
        self._keep(scope, state)
        self._report(scope, before, now_s)
        return True

    def take_probed(self, verdicts: Mapping[HealthScope, HealthState], now_s: float) -> None:
        """Put what probes show in the place of all that they showed."""
        for scope in self.probed.keys() | verdicts.keys():
            self._set_probed(scope, verdicts.get(scope, HEALTHY), now_s)

    def sweep(self, now_s: float) -> None:
        """Drop what is over: verdicts of probes that nobody repeats, limits, returns long ago."""
        for scope, state in list(self.probed.items()):
            if now_s >= state.until_s:
                self._set_probed(scope, HEALTHY, now_s)
        for scope, state in self._by_traffic():
            self.set(scope, health_changes.settled(state, now_s), now_s)

    def forget(self, gone: Callable[[HealthScope], bool], now_s: float) -> None:
        """Drop what traffic showed of these."""
        for scope, _ in self._by_traffic():
            if gone(scope):
                self.set(scope, HEALTHY, now_s)

    def _by_traffic(self) -> list[tuple[HealthScope, HealthState]]:
        return [*(((provider, ""), state) for provider, state in self.whole.items()), *self.by_model.items()]

    def _judge(self, scope: HealthScope, now_s: float) -> Judgement:
        return judge((self.state(scope), self.probed.get(scope, HEALTHY)), now_s)

    def _set_probed(self, scope: HealthScope, state: HealthState, now_s: float) -> None:
        before = self._judge(scope, now_s)
        _keep(self.probed, scope, state)
        if before.trouble is not None and self._judge(scope, now_s).trouble is None:
            self._keep(scope, health_changes.back(self.state(scope), now_s))
        self._report(scope, before, now_s)

    def _keep(self, scope: HealthScope, state: HealthState) -> None:
        provider, model = scope
        if model:
            _keep(self.by_model, scope, state)
        else:
            _keep(self.whole, provider, state)

    def _report(self, scope: HealthScope, before: Judgement, now_s: float) -> None:
        now = self._judge(scope, now_s)
        if before.trouble != now.trouble:
            self._on_change(HealthChange(*scope, before.trouble, now))


def by_probe(probed: Probed, now_s: float, valid_s: float) -> HealthState:
    """The state that the verdict of a probe means, for as long as it is valid."""
    trouble = _BY_PROBE[probed.verdict]
    if trouble is None:
        return HEALTHY
    since_s = min(probed.since_s, now_s) or now_s
    return HealthState(
        trouble=trouble, since_s=since_s, until_s=now_s + valid_s, cause=probed.cause, began_s=since_s, probed=True
    )


def _keep(states: dict[_StateKey, HealthState], key: _StateKey, state: HealthState) -> None:
    if state == HEALTHY:
        states.pop(key, None)
    else:
        states[key] = state
