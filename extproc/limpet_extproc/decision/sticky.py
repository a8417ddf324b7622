"""Where a conversation stays: the providers that are tried first because it is warm there."""

from collections.abc import Mapping
from typing import Final

from limpet_extproc.contract.reasons import DecisionReason, Exclusion
from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.price import why_not_sticky
from limpet_extproc.memory import Remembered

_LEFT: Final[Mapping[Exclusion | None, DecisionReason]] = {
    "degraded": "sticky.left.degraded",
    "down": "sticky.left.down",
    "over_limit": "sticky.left.over_limit",
}


def warm_first(
    filtered: Filtered, remembered: Remembered | None, prompt_tokens: int, now_s: float
) -> tuple[tuple[str, ...], DecisionReason]:
    """The warm providers, the newest first, and why these, or why none."""
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
    sticky, *others = warm
    also_warm = tuple(each.provider for each in others if filtered.may_stay(each.provider))
    if not filtered.may_stay(sticky.provider):
        return also_warm, _LEFT.get(filtered.excluded.get(sticky.provider), "sticky.left.not_candidate")
    candidate = filtered.lane.by_provider[sticky.provider]
    unpaid = why_not_sticky(candidate, max(prompt_tokens, sticky.prompt_tokens))
    return ((sticky.provider, *also_warm), "sticky.hit") if unpaid is None else ((), unpaid)
