"""Where a conversation stays: the providers that are tried first because it is warm there."""

from collections.abc import Mapping, Sequence
from typing import Final

from limpet_extproc.contract.reasons import DecisionReason, Exclusion
from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.going_back import cheaper_place
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import why_not_sticky
from limpet_extproc.memory import Remembered, Warm

_LEFT: Final[Mapping[Exclusion | None, DecisionReason]] = {
    "degraded": "sticky.left.degraded",
    "down": "sticky.left.down",
    "just_failed": "sticky.left.failed",
    "over_limit": "sticky.left.over_limit",
}

WarmFirst = tuple[tuple[str, ...], DecisionReason]
"""The warm providers in the order in which they are tried, and why these, or why none."""


def warm_first(
    filtered: Filtered, remembered: Remembered | None, query: Query, states: ProviderStates, now_s: float
) -> WarmFirst:
    """The providers that come first because of what is remembered."""
    if remembered is None:
        return (), "first.scored"
    if not remembered.warm:
        pending = remembered.pending
        if pending is not None and filtered.may_stay(pending):
            return (pending,), "sticky.pending"
        return (), "first.scored"
    warm = [each for each in remembered.warm if each.until_s > now_s]
    if not warm:
        return (), "sticky.expired"
    return _of_warm(filtered, warm[0], warm[1:], query, states, now_s)


def _of_warm(
    filtered: Filtered, sticky: Warm, earlier: Sequence[Warm], query: Query, states: ProviderStates, now_s: float
) -> WarmFirst:
    """`sticky` served last, `earlier` ones before it; the caches of all of them still live."""
    others = [each for each in earlier if filtered.may_stay(each.provider)]
    if others and filtered.trials:
        others.sort(key=lambda each: each.provider in filtered.trials)
    if not filtered.may_stay(sticky.provider):
        return _names(*others), _left(filtered.excluded.get(sticky.provider))
    if others and sticky.provider in filtered.trials and others[0].provider not in filtered.trials:
        # A conversation with another warm place leaves the trial to one that has none.
        return _names(others[0], sticky, *others[1:]), _left(filtered.trials[sticky.provider])
    unpaid = why_not_sticky(filtered.lane.by_provider[sticky.provider], query, sticky.prompt_tokens)
    if unpaid is not None:
        return (), unpaid
    if not others:
        return (sticky.provider,), "sticky.hit"
    cheaper = cheaper_place(filtered, sticky, others, query, states, now_s)
    if cheaper is not None:
        return _names(cheaper, sticky, *others), "sticky.returned"
    return _names(sticky, *others), "sticky.hit"


def _left(exclusion: Exclusion | None) -> DecisionReason:
    return _LEFT.get(exclusion, "sticky.left.not_candidate")


def _names(*warm: Warm) -> tuple[str, ...]:
    return tuple(each.provider for each in warm)
