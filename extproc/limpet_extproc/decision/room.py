"""Part of the first step of a decision: which candidates have room for the request, by their limits.

A full one is passed over before it answers 429: the request goes elsewhere, even if its conversation is warm there.
"""

import msgspec

from limpet_extproc.contract.reasons import Exclusion
from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.limits import UsedAt, is_full, used_most


def by_room(filtered: Filtered, used: UsedAt, tokens: int, now_s: float) -> Filtered:
    """Pass over the full ones: the last resort, the one with most room first, before those that are out."""
    full: list[tuple[float, str]] = []
    for candidate in filtered.lane.candidates:
        if candidate.limits is None or candidate.provider in filtered.out:
            continue
        used_now = used(candidate.provider, now_s)
        if is_full(candidate.limits, used_now, tokens):
            full.append((used_most(candidate.limits, used_now), candidate.provider))
    if not full:
        return filtered
    names = tuple(name for _, name in sorted(full))
    over_limit: dict[str, Exclusion] = dict.fromkeys(names, "over_limit")
    return msgspec.structs.replace(
        filtered,
        open=tuple(candidate for candidate in filtered.open if candidate.provider not in over_limit),
        draining=tuple(candidate for candidate in filtered.draining if candidate.provider not in over_limit),
        degraded=tuple(candidate for candidate in filtered.degraded if candidate.provider not in over_limit),
        # Before those that are out: they answer, or refuse at once.
        out=(*names, *filtered.out),
        excluded={**filtered.excluded, **over_limit},
    )
