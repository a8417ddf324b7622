"""Which windows of a price list hold, and until when. Pure."""

from math import inf
from typing import NamedTuple

from limpet_extproc.contract.price_windows import window_at
from limpet_operator.resources.pricing import Pricing


class WindowInForce(NamedTuple):
    """What holds of a price list at an instant."""

    names: str
    """Of the window, or of several for different models; empty: the usual prices hold."""
    until_s: float
    """Unix seconds at which that changes."""


def window_in_force(pricing: Pricing, now_s: float) -> WindowInForce | None:
    """What holds at this Unix time; None: no window ever does."""
    # Most models of a price list have the same windows.
    of_models = {
        tuple(window.name for window in priced.rules.windows): priced.rules.windows
        for priced in pricing.prices.values()
    }
    found = [window_at(windows, now_s) for windows in of_models.values()]
    until_s = min((until_s for _, until_s in found), default=inf)
    if until_s == inf:
        return None
    held = {window.name for window, _ in found if window is not None}
    return WindowInForce(", ".join(each.name for each in pricing.windows if each.name in held), until_s)
