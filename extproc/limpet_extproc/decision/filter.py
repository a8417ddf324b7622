"""First step of a decision: which candidates may be tried, by their health and by what the client demands."""

from collections.abc import Container, Mapping

import msgspec

from limpet_extproc.contract.reasons import Exclusion
from limpet_extproc.decision.health import judge
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Candidate, Lane
from limpet_extproc.decision.steering import Allowed, Steering


class Filtered(msgspec.Struct, frozen=True, gc=False):
    """The candidates of a lane by what may be done with them."""

    lane: Lane
    open: tuple[Candidate, ...]
    """Up, or to be tried again; new conversations may go there."""
    draining: tuple[Candidate, ...] = ()
    degraded: tuple[Candidate, ...] = ()
    """They answer, but badly: tried after all that are up."""
    out: tuple[str, ...] = ()
    """Down or over their limit, the one that comes back first before the others; the last resort of every order."""
    trials: Mapping[str, Exclusion] = {}
    """Of those that are open or draining: in trouble until now, and this request may try them again."""
    shares: Mapping[str, float] = {}
    """Of those that came back a moment ago: how much of their new conversations each may have, less than 1."""
    excluded: Mapping[str, Exclusion] = {}
    just_failed: tuple[Candidate, ...] = ()
    """Up, but they failed the conversation's last request: tried after those that are open."""

    def may_stay(self, provider: str) -> bool:
        """Whether a conversation that is warm there may stay."""
        exclusion = self.excluded.get(provider)
        return (exclusion is None or exclusion == "draining") and provider in self.lane.by_provider


def by_health(lane: Lane, states: ProviderStates, now_s: float) -> Filtered:
    """Sort the lane's candidates by health."""
    if states.all_well and not lane.drains:
        return Filtered(lane, lane.candidates)
    draining: list[Candidate] = []
    degraded: list[Candidate] = []
    out: list[tuple[float, str]] = []
    trials: dict[str, Exclusion] = {}
    shares: dict[str, float] = {}
    excluded: dict[str, Exclusion] = {}
    for candidate in _noted(lane, states):
        name = candidate.provider
        if found := states.of(name, lane.model):
            judgement = judge(found, now_s)
            trouble = judgement.trouble
            if trouble is None:
                share = states.share(name, lane.model, now_s)
                if share < 1.0:
                    shares[name] = share
            elif judgement.trial:
                trials[name] = trouble
            else:
                excluded[name] = trouble
                if trouble == "degraded":
                    degraded.append(candidate)
                else:
                    out.append((judgement.until_s, name))
                continue
        if candidate.drain:
            draining.append(candidate)
            excluded[name] = "draining"
    out.sort()
    names = tuple(name for _, name in out)
    open_ = lane.pools.without(frozenset(excluded)).candidates
    return Filtered(lane, open_, tuple(draining), tuple(degraded), names, trials, shares, excluded)


def _noted(lane: Lane, states: ProviderStates) -> list[Candidate]:
    """The candidates that may be anything but simply up, in the order of the lane."""
    noted = states.noted(lane.model)
    if not lane.draining:
        names = [name for name in noted if name in lane.by_provider]
    else:
        names = [*{*(name for name in noted if name in lane.by_provider), *lane.draining}]
    if len(names) > 1:
        names.sort(key=lane.pools.places.__getitem__)
    return [lane.by_provider[name] for name in names]


def by_demands(filtered: Filtered, steering: Steering, allowed: Allowed) -> Filtered:
    """Only those that the client allows. `allowed` is what its demands leave of the lane."""
    named = (*steering.order, *(steering.only or ()))
    strangers: dict[str, Exclusion] = {name: "not_candidate" for name in named if name not in filtered.lane.by_provider}
    return Filtered(
        filtered.lane,
        tuple(candidate for candidate in filtered.open if candidate.provider in allowed.providers),
        tuple(candidate for candidate in filtered.draining if candidate.provider in allowed.providers),
        tuple(candidate for candidate in filtered.degraded if candidate.provider in allowed.providers),
        tuple(name for name in filtered.out if name in allowed.providers),
        filtered.trials,
        filtered.shares,
        {**filtered.excluded, **allowed.excluded, **strangers},
    )


def without_better(filtered: Filtered) -> Filtered:
    """Where none is open, degraded ones are as good as up: leaving one of them would not lead to a better one."""
    if filtered.open or not filtered.degraded:
        return filtered
    excluded = dict(filtered.excluded)
    for candidate in filtered.degraded:
        if candidate.drain:
            excluded[candidate.provider] = "draining"
        else:
            del excluded[candidate.provider]
    return msgspec.structs.replace(
        filtered,
        open=tuple(candidate for candidate in filtered.degraded if not candidate.drain),
        draining=(*filtered.draining, *(candidate for candidate in filtered.degraded if candidate.drain)),
        degraded=(),
        excluded=excluded,
    )


def by_failure(filtered: Filtered, failed: Container[str]) -> Filtered:
    """Put those that failed the conversation's last request behind the others, if one of these is up."""
    others = tuple(candidate for candidate in filtered.open if candidate.provider not in failed)
    if len(others) == len(filtered.open) or all(candidate.provider in filtered.trials for candidate in others):
        return filtered
    behind = tuple(candidate for candidate in filtered.open if candidate.provider in failed)
    just_failed: dict[str, Exclusion] = {candidate.provider: "just_failed" for candidate in behind}
    return msgspec.structs.replace(
        filtered, open=others, just_failed=behind, excluded={**filtered.excluded, **just_failed}
    )
