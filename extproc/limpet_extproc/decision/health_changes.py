"""What happens to the health of a provider, or of a model there: pure transitions of `HealthState`.

`age_s` of an attempt is how long ago its request was decided. One that was under way when the provider went out shows
nothing new: such a failure neither prolongs nor shortens the pause, and such an answer does not end it.
"""

from msgspec.structs import replace

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.catalog import Trouble
from limpet_extproc.decision.health import DEFAULT_THRESHOLDS, HEALTHY, HealthState, HealthThresholds


def after_failure(
    state: HealthState,
    now_s: float,
    cause: Cause = "",
    age_s: float = 0.0,
    thresholds: HealthThresholds = DEFAULT_THRESHOLDS,
    *,
    conversation: str = "",
) -> HealthState:
    """No answer, or one that shows the provider to be broken. One failed trial is enough to take it out again.

    `conversation`: whose request may be the cause. However often one fails, it counts once in a row, so that a request
    that breaks servers takes no provider out.
    """
    if _shows_nothing_new(state, now_s, age_s):
        return state
    if repeats(state, conversation):
        return end_trial(state)
    conversations = (*state.conversations, conversation) if conversation else state.conversations
    counted = replace(
        state,
        failures=state.failures + 1,
        good=0,
        conversations=conversations[-thresholds.failures_to_down :],
    )
    if state.trouble in (None, "degraded") and counted.failures < thresholds.failures_to_down:
        return _failed_trial(counted, now_s, thresholds)
    return _out(counted, "down", cause, now_s, thresholds)


def repeats(state: HealthState, conversation: str) -> bool:
    """Whether another failure of the conversation shows nothing: it is among those in a row already.

    Of a provider that is down or over its limit it is a failed trial like another.
    """
    return state.trouble in (None, "degraded") and conversation != "" and conversation in state.conversations


def after_limit(
    state: HealthState,
    now_s: float,
    retry_after_s: float | None = None,
    cause: Cause = "Limited",
    age_s: float = 0.0,
    thresholds: HealthThresholds = DEFAULT_THRESHOLDS,
) -> HealthState:
    """An answer that the provider is over its limit, or overloaded; `retry_after_s` is what it asks to wait.

    With it one answer is enough, and the wait is the provider's own. Without it three in a row are as good as a
    failed trial: it is over its limit for a pause that doubles.
    """
    if retry_after_s is not None:
        return _asked_to_wait(state, now_s, retry_after_s, cause, thresholds)
    if _shows_nothing_new(state, now_s, age_s):
        return state
    counted = replace(state, limits=state.limits + 1, good=0)
    if state.trouble in (None, "degraded") and counted.limits < thresholds.failures_to_down:
        return _failed_trial(counted, now_s, thresholds)
    return _out(counted, "over_limit", cause, now_s, thresholds)


def after_success(
    state: HealthState,
    now_s: float,
    age_s: float = 0.0,
    *,
    slow: bool = False,
    failing: bool = False,
    thresholds: HealthThresholds = DEFAULT_THRESHOLDS,
) -> HealthState:
    """An answer. It ends any trouble but being degraded, which takes several in a row that are not `slow`.

    `failing`: too many attempts still fail beside it for the provider to return.
    """
    if state.trouble is None:
        return replace(state, failures=0, limits=0, conversations=()) if state is not HEALTHY else state
    if now_s - age_s < state.began_s:
        return state
    if state.trouble != "degraded":
        return _after_worse(state, now_s)
    counted = replace(state, failures=0, limits=0, conversations=())
    if now_s < state.until_s:
        return counted
    if slow:
        return _failed_trial(counted, now_s, thresholds)
    if state.good + 1 >= thresholds.good_trials and not failing:
        return back(state, now_s)
    return replace(counted, good=state.good + 1, trial_until_s=0.0)


def degraded(
    state: HealthState, now_s: float, cause: Cause, thresholds: HealthThresholds = DEFAULT_THRESHOLDS
) -> HealthState:
    """It answers, but too slowly or too seldom. Worse trouble stays."""
    return state if state.trouble is not None else _out(state, "degraded", cause, now_s, thresholds)


def begin_trial(state: HealthState, now_s: float, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> HealthState:
    """One request tries the provider; others leave it alone until the outcome or the time limit.

    Also where the pause has a moment to go: a worker that heard later of the failures hears of the trial all the same.
    """
    if state.trouble is None:
        return state
    return replace(state, trial_until_s=now_s + thresholds.trial_timeout_s)


def end_trial(state: HealthState) -> HealthState:
    """The trial has shown nothing; the next request may be one."""
    return replace(state, trial_until_s=0.0) if state.trial_until_s else state


def back(state: HealthState, now_s: float) -> HealthState:
    """It is well again, and its next pauses go on from the last ones until it has been well for a while."""
    return HealthState(pause_s=state.pause_s, degraded_pause_s=state.degraded_pause_s, returned_s=now_s)


def settled(state: HealthState, now_s: float, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> HealthState:
    """The state without what no longer matters: a return that is long enough ago, a limit whose end has come.

    Only an end that the provider named itself, and all of it: one that was capped, or is ours, takes an answer.
    """
    if state.named and not state.asked_s and now_s >= max(state.until_s + thresholds.unasked_s, state.trial_until_s):
        return _after_worse(state, now_s)
    if state.trouble is not None or not _well_for_a_while(state, now_s, thresholds):
        return state
    return HealthState(failures=state.failures, limits=state.limits, conversations=state.conversations)


def _shows_nothing_new(state: HealthState, now_s: float, age_s: float) -> bool:
    """Of a failure; a degraded provider gets requests all the same where no other is left, and may go down."""
    if state.trouble is None:
        return False
    return now_s - age_s < state.began_s or (state.trouble != "degraded" and now_s < state.until_s)


def _failed_trial(counted: HealthState, now_s: float, thresholds: HealthThresholds) -> HealthState:
    if counted.trouble == "degraded" and now_s >= counted.until_s:
        return _out(counted, "degraded", counted.cause, now_s, thresholds)
    return counted


def _asked_to_wait(
    state: HealthState, now_s: float, retry_after_s: float, cause: Cause, thresholds: HealthThresholds
) -> HealthState:
    wait_s = min(max(retry_after_s, thresholds.min_retry_after_s), thresholds.max_retry_after_s)
    until_s = now_s + wait_s
    asked_s = retry_after_s if retry_after_s > wait_s else 0.0
    if state.trouble in ("down", "over_limit") and now_s < state.until_s:
        # Of several answers to requests that were under way, the longest wait holds.
        return (
            state
            if until_s <= state.until_s
            else replace(state, until_s=until_s, asked_s=asked_s, named=state.trouble == "over_limit")
        )
    since_s = state.since_s if state.trouble == "over_limit" else now_s
    return HealthState(
        failures=state.failures,
        trouble="over_limit",
        since_s=since_s,
        until_s=until_s,
        pause_s=state.pause_s,
        cause=cause,
        began_s=now_s,
        limits=state.limits,
        degraded_pause_s=state.degraded_pause_s,
        asked_s=asked_s,
        named=True,
        beneath=_degraded_beneath(state),
        conversations=state.conversations,
    )


def _out(state: HealthState, trouble: Trouble, cause: Cause, now_s: float, thresholds: HealthThresholds) -> HealthState:
    anew = state.trouble is None and _well_for_a_while(state, now_s, thresholds)
    pause_s = 0.0 if anew else state.pause_s
    degraded_pause_s = 0.0 if anew else state.degraded_pause_s
    if trouble == "degraded":
        degraded_pause_s = min(
            degraded_pause_s * 2 or thresholds.first_degraded_pause_s, thresholds.max_degraded_pause_s
        )
    else:
        pause_s = min(pause_s * 2 or thresholds.first_pause_s, thresholds.max_pause_s)
    return HealthState(
        failures=state.failures,
        trouble=trouble,
        since_s=state.since_s if state.trouble == trouble else now_s,
        until_s=now_s + (degraded_pause_s if trouble == "degraded" else pause_s),
        pause_s=pause_s,
        cause=cause,
        began_s=now_s,
        limits=state.limits,
        degraded_pause_s=degraded_pause_s,
        beneath=None if trouble == "degraded" else _degraded_beneath(state),
        conversations=state.conversations,
    )


def _degraded_beneath(state: HealthState) -> HealthState | None:
    """Worse trouble has a pause of its own, which may be far shorter than that of a degraded provider."""
    return state if state.trouble == "degraded" else state.beneath


def _after_worse(state: HealthState, now_s: float) -> HealthState:
    """It answers again; what is left of its pause as a degraded one still holds."""
    if state.beneath is None or now_s >= state.beneath.until_s:
        return back(state, now_s)
    return replace(
        state.beneath, failures=0, limits=0, conversations=(), good=0, pause_s=state.pause_s, trial_until_s=0.0
    )


def _well_for_a_while(state: HealthState, now_s: float, thresholds: HealthThresholds) -> bool:
    return now_s >= state.returned_s + thresholds.well_s
