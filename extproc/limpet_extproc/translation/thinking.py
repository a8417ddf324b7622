"""`reasoning_effort` as Anthropic's thinking, which its generations of models are told in different ways."""

from typing import Final, NamedTuple

from limpet_extproc.translation.models import ModelTraits
from limpet_extproc.translation.untranslatable import MessagesBlock, refuse

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

LEAST_BUDGET: Final = 1_024
"""Anthropic's minimum."""
_BUDGETS: Final = {
    "minimal": LEAST_BUDGET,
    "low": 2_000,
    "medium": 8_000,
    "high": 16_000,
    "xhigh": 24_000,
    "max": 24_000,
}
"""Tokens, of those that the answer may have; no more than half of them."""


class Thoughts(NamedTuple):
    """What a request says about thinking."""

    thinking: MessagesBlock | None = None
    effort: str | None = None
    """For `output_config`."""

    @property
    def on(self) -> bool:
        """Whether it thinks."""
        return self.thinking is not None and self.thinking["type"] != "disabled"


def thoughts(effort: str, traits: ModelTraits, max_tokens: int, *, forced: bool, unsigned_call: bool) -> Thoughts:
    """How a model is told to think that much.

    Not at all where it can't: when a tool has to be called (`forced`), or for a budget when it goes on from a call
    whose thinking is not there (`unsigned_call`).
    """
    if effort not in EFFORTS:
        refuse("reasoning_effort", f"write one of {', '.join(EFFORTS)}")
    if traits.thinking == "adaptive":
        return _adaptive(effort, traits, forced=forced)
    budget = min(_BUDGETS.get(effort, 0), max_tokens // 2)
    if traits.thinking == "none" or forced or unsigned_call or budget < LEAST_BUDGET:
        return Thoughts()
    return Thoughts({"type": "enabled", "budget_tokens": budget})


def _adaptive(effort: str, traits: ModelTraits, *, forced: bool) -> Thoughts:
    if effort == "none":
        return Thoughts({"type": "disabled"}) if traits.may_not_think else Thoughts(None, "low")
    level = "low" if effort == "minimal" else effort
    if level == "xhigh" and not traits.has_xhigh:
        level = "high"
    return Thoughts(None if forced else {"type": "adaptive"}, level)
