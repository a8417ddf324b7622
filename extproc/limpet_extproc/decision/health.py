"""The health of a provider, or of one model there: a small state, and what it means at an instant.

What changes the state is in `health_changes`. A provider that is simply well needs no state. Times are on the clock
that `now_s` comes from, and only differences between them matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.catalog import Trouble


@dataclass(frozen=True, slots=True)
class HealthThresholds:
    """When a provider is taken out, for how long, and how it comes back; reasons and sources in decision 0048."""

    failures_to_down: int = 3
    """In a row; as many answers in a row that it is over its limit, without saying for how long, make it Limited."""
    first_pause_s: float = 5.0
    """Before the first trial of one that is down or over its limit; each failed trial doubles it."""
    max_pause_s: float = 60.0
    first_degraded_pause_s: float = 10.0
    max_degraded_pause_s: float = 300.0
    max_retry_after_s: float = 300.0
    """No longer, whatever a provider asks for: the trial after it costs one attempt."""
    min_retry_after_s: float = 1.0
    trial_timeout_s: float = 60.0
    """A trial whose outcome never came ends after this."""
    unasked_s: float = 5.0
    """This long after the time that a provider named itself it is up unless a request has shown otherwise."""
    good_trials: int = 3
    """In a row, for a degraded provider to return; after other trouble one is enough."""
    well_s: float = 60.0
    """One that has been well for so long after its return starts with the first pause again."""
    ramp_s: float = 30.0
    """After its return, until it takes its whole share of new conversations."""
    first_share: float = 0.05


DEFAULT_THRESHOLDS: Final = HealthThresholds()

TROUBLES: Final[tuple[Trouble | None, ...]] = (None, "degraded", "over_limit", "down")
"""Each worse than the one before."""


class HealthState(msgspec.Struct, frozen=True, gc=False):
    """The health of one provider, or of one model there."""

    failures: int = 0
    """In a row."""
    trouble: Trouble | None = None
    since_s: float = 0.0
    """When this trouble began."""
    until_s: float = 0.0
    """It is left alone until then; after that one request at a time tries it."""
    pause_s: float = 0.0
    """Length of the last pause while down or over its limit; 0: the next one is the first."""
    trial_until_s: float = 0.0
    """A trial is under way, and holds others back until then at most."""
    cause: Cause = ""
    """What took it out."""
    began_s: float = 0.0
    """When the present pause began: requests that were under way then show nothing new."""
    limits: int = 0
    """Answers in a row that it is over its limit, without a time to wait."""
    good: int = 0
    """Trials in a row that went well, of one that is degraded."""
    degraded_pause_s: float = 0.0
    """As `pause_s`, while degraded."""
    returned_s: float = 0.0
    """When it came back; 0: it has not been out lately."""
    asked_s: float = 0.0
    """What it asked to wait, where that is more than it is given."""
    named: bool = False
    """The provider named the end of its pause itself."""
    conversations: tuple[str, ...] = ()
    """Those of the failures in a row that may be due to their requests."""
    probed: bool = False
    """These are the words of its probes, which traffic neither confirms nor refutes; they lapse at `until_s`."""
    beneath: "HealthState | None" = None
    """While it is down or over its limit: how it was degraded when that began, which may outlast it."""


HEALTHY: Final = HealthState()


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What a request that is decided now may do with a provider."""

    trouble: Trouble | None = None
    """None: it is up."""
    trial: bool = False
    """It is in trouble, but its pause is over and no other request tries it: this one may, after which
    `events.TrialBegan` keeps others from it until the outcome."""
    cause: Cause = ""
    """Why it is in trouble."""
    since_s: float = 0.0
    """Since when it is."""
    until_s: float = 0.0
    """When it may be tried again; the past where `trial`."""


UP: Final = Judgement()


def judge(states: Sequence[HealthState], now_s: float) -> Judgement:
    """The verdict by all states that concern a request: the worst of them, on trial only if each allows it."""
    worst: HealthState | None = None
    until_s = 0.0
    for state in states:
        if state.trouble is not None:
            until_s = max(until_s, state.until_s, state.trial_until_s)
            if worst is None or badness(state) > badness(worst):
                worst = state
    if worst is None:
        return UP
    return Judgement(worst.trouble, now_s >= until_s, worst.cause, worst.since_s, until_s)


def share(state: HealthState, now_s: float, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> float:
    """Which share of its usual new conversations it may take, in (0, 1]: less than 1 for a while after its return."""
    if state.trouble is not None or state.returned_s == 0.0:
        return 1.0
    return min(1.0, max(thresholds.first_share, (now_s - state.returned_s) / thresholds.ramp_s))


def badness(state: HealthState) -> tuple[int, float, int]:
    """Orders states: by trouble, then the longer it is left alone the worse, then by failures in a row."""
    return TROUBLES.index(state.trouble), max(state.until_s, state.trial_until_s), max(state.failures, state.limits)


def explain(provider: str, state: HealthState, now_s: float) -> str:
    """One clause for a person: what is wrong with the provider, since when, and when it is tried again."""
    if state.trouble is None:
        return f"{provider} is up"
    out_s, left_s = now_s - state.since_s, max(0.0, state.until_s - now_s)
    if state.probed:
        return f"{provider} {_wrong(state)} according to probes (for {out_s:.0f} s)"
    capped = f" (it asked for {state.asked_s:.0f} s)" if state.asked_s else ""
    if left_s:
        return f"{provider} {_wrong(state)}, out for {out_s:.0f} s, next trial in {left_s:.0f} s{capped}"
    trial = "a request is trying it" if now_s < state.trial_until_s else "it is tried again by the next request"
    if state.trouble == "over_limit":
        return f"{provider} {_wrong(state).replace('is', 'was', 1)} until {now_s - state.until_s:.0f} s ago; {trial}"
    return f"{provider} {_wrong(state)}, out for {out_s:.0f} s; {trial}"


def _wrong(state: HealthState) -> str:
    if state.probed:
        return {"degraded": "is degraded", "over_limit": "is over its limit"}.get(state.trouble or "", "is down")
    if state.cause == "SlowFirstByte":
        return "answers far later than it used to"
    if state.cause == "SlowStream":
        return "sends its answers far more slowly than it used to"
    if state.cause == "ErrorRate":
        return "fails too many requests"
    if state.trouble == "over_limit":
        return "is overloaded" if state.cause == "Overloaded" else "is rate-limiting us (429)"
    return f"failed {state.failures} times in a row"
