"""The health of a provider as its traffic shows it: pure transitions of a small state, and what it means at an instant.

Failures in a row take a provider out for a while that doubles each time; then one request at a time tries it again. A
429 with `retry-after` takes it out for as long as it asks for. A healthy provider needs no state.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from limpet_extproc.contract.catalog import Trouble

Verdict = Literal["up", "over_limit", "down", "trial"]
"""`trial`: its time out is over and this request may try it; all other requests still see it as it was."""


@dataclass(frozen=True, slots=True)
class HealthThresholds:
    """When a provider is taken out, and for how long; seconds."""

    failures_to_down: int = 3
    cooldown_s: float = 5.0
    max_cooldown_s: float = 60.0
    max_retry_after_s: float = 300.0
    trial_timeout_s: float = 60.0
    """A trial whose outcome never came ends after this."""


DEFAULT_THRESHOLDS: Final = HealthThresholds()


class HealthState(msgspec.Struct, frozen=True, gc=False):
    """The health of one provider, or of one model there; times on the clock that `now_s` comes from."""

    failures: int = 0
    """In a row."""
    trouble: Trouble | None = None
    since_s: float = 0.0
    until_s: float = 0.0
    cooldown_s: float = 0.0
    """Length of the present or last time out after failures; the next one is twice as long."""
    trial_until_s: float = 0.0


HEALTHY: Final = HealthState()
"""Also after a success, whatever was before."""


def verdict(state: HealthState, now_s: float) -> Verdict:
    """What a request that is decided now may do with the provider."""
    if state.trouble is None:
        return "up"
    if now_s < state.until_s or now_s < state.trial_until_s:
        return state.trouble
    return "trial"


def badness(state: HealthState) -> tuple[bool, float, int]:
    """Orders states: out before in, the longer out the worse, then by failures in a row."""
    return state.trouble is not None, max(state.until_s, state.trial_until_s), state.failures


def after_failure(state: HealthState, now_s: float, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> HealthState:
    """No answer, or one that shows the provider to be broken. One failed trial is enough to take it out again."""
    failures = state.failures + 1
    if state.trouble is None and failures < thresholds.failures_to_down:
        return HealthState(failures=failures)
    if now_s < state.until_s:
        # Requests that were under way when it went out show nothing new, and must not shorten what a 429 asked for.
        return HealthState(failures, state.trouble, state.since_s, state.until_s, state.cooldown_s)
    cooldown_s = min(state.cooldown_s * 2 or thresholds.cooldown_s, thresholds.max_cooldown_s)
    since_s = state.since_s if state.trouble == "down" else now_s
    return HealthState(failures, "down", since_s, now_s + cooldown_s, cooldown_s)


def after_limit(
    state: HealthState, now_s: float, retry_after_s: float, thresholds: HealthThresholds = DEFAULT_THRESHOLDS
) -> HealthState:
    """A 429 that says when to come back."""
    until_s = now_s + min(retry_after_s, thresholds.max_retry_after_s)
    return HealthState(state.failures, "over_limit", now_s, max(until_s, state.until_s), state.cooldown_s)


def begin_trial(state: HealthState, now_s: float, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> HealthState:
    """One request tries the provider; others leave it alone until the outcome or the time limit."""
    return HealthState(
        state.failures,
        state.trouble,
        state.since_s,
        state.until_s,
        state.cooldown_s,
        now_s + thresholds.trial_timeout_s,
    )


def explain(provider: str, state: HealthState, now_s: float) -> str:
    """One clause for a person: what is wrong with the provider, since when, and when it is tried again."""
    if state.trouble is None:
        return f"{provider} is up"
    limited = state.trouble == "over_limit"
    wrong = "is rate-limiting us (429)" if limited else f"failed {state.failures} times in a row"
    out_s, left_s = now_s - state.since_s, max(0.0, state.until_s - now_s)
    return f"{provider} {wrong}, out for {out_s:.0f} s, next trial in {left_s:.0f} s"
