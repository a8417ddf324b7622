"""First step of a decision: which candidates may be tried, by their health and by what the client demands."""

from collections.abc import Mapping

import msgspec

from limpet_extproc.contract.reasons import Exclusion
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Candidate, Lane
from limpet_extproc.decision.steering import Allowed, Steering


class Filtered(msgspec.Struct, frozen=True, gc=False):
    """The candidates of a lane by what may be done with them."""

    lane: Lane
    open: tuple[Candidate, ...]
    """Up, or to be tried again; new conversations may go there."""
    draining: tuple[Candidate, ...] = ()
    out: tuple[str, ...] = ()
    """Down or over their limit, the one that comes back first before the others."""
    trials: frozenset[str] = frozenset()
    """Of those that are open or draining: they were out, and this request may try them again."""
    excluded: Mapping[str, Exclusion] = {}

    def may_stay(self, provider: str) -> bool:
        """Whether a conversation that is warm there may stay."""
        exclusion = self.excluded.get(provider)
        return (exclusion is None or exclusion == "draining") and provider in self.lane.by_provider


def by_health(lane: Lane, states: ProviderStates, now_s: float) -> Filtered:
    """Sort the lane's candidates by health."""
    if states.all_well and not lane.drains:
        return Filtered(lane, lane.candidates)
    open_: list[Candidate] = []
    draining: list[Candidate] = []
    out: list[tuple[float, str]] = []
    trials: set[str] = set()
    excluded: dict[str, Exclusion] = {}
    for candidate in lane.candidates:
        name = candidate.provider
        current = states.judge(name, lane.model, now_s)
        if current.trouble is not None and not current.trial:
            out.append((current.until_s, name))
            excluded[name] = current.trouble
        elif candidate.drain:
            draining.append(candidate)
            excluded[name] = "draining"
        else:
            open_.append(candidate)
        if current.trial:
            trials.add(name)
    out.sort()
    return Filtered(lane, tuple(open_), tuple(draining), tuple(name for _, name in out), frozenset(trials), excluded)


def by_demands(filtered: Filtered, steering: Steering, allowed: Allowed) -> Filtered:
    """Only those that the client allows. `allowed` is what its demands leave of the lane."""
    named = (*steering.order, *(steering.only or ()))
    strangers: dict[str, Exclusion] = {name: "not_candidate" for name in named if name not in filtered.lane.by_provider}
    return Filtered(
        filtered.lane,
        tuple(candidate for candidate in filtered.open if candidate.provider in allowed.providers),
        tuple(candidate for candidate in filtered.draining if candidate.provider in allowed.providers),
        tuple(name for name in filtered.out if name in allowed.providers),
        filtered.trials,
        {**filtered.excluded, **allowed.excluded, **strangers},
    )
