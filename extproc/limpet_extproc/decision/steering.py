"""What the client demands of the choice, and which candidates meet it."""

from collections.abc import Callable, Container, Iterator

import msgspec

from limpet_extproc.contract.reasons import RuledOut
from limpet_extproc.decision.snapshot import Candidate, Lane
from limpet_extproc.dialects.port import Controls, Sort


class Steering(msgspec.Struct, frozen=True, gc=False):
    """What the client itself demands of the choice; the names are those of `provider` in the request body."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    sort: Sort | None = None
    allow_fallbacks: bool = True
    max_prompt_usd: float | None = None
    max_completion_usd: float | None = None
    no_training: bool = False
    no_retention: bool = False
    beyond: tuple[str, ...] = ()
    """Demands that only a provider that reads the object itself can meet."""

    def chooses(self) -> bool:
        """Whether it chooses among providers; else it only restricts them, and memory counts."""
        return bool(self.order or self.only or self.ignore or self.sort or not self.allow_fallbacks)


class Obeyed(msgspec.Struct, frozen=True, gc=False):
    """What a client's demands leave of a lane."""

    allowed: frozenset[str]
    excluded: dict[str, RuledOut]
    unmet: str = ""
    """The first demand that leaves none, as an error's `param`."""


_NO_DEMANDS = Steering()

_Demand = tuple[str, RuledOut, Callable[[Candidate], bool]]


def steering_of(
    controls: Controls | None, allow_fallbacks: bool | None, lane: Lane, ours: Container[str]
) -> Steering | None:
    """What is demanded, for a model of this lane; None unless something is.

    A list that names none of `ours`, our providers, is for a provider that reads the object itself, if there is one.
    """
    if controls is None:
        return None if allow_fallbacks in (None, True) else Steering(allow_fallbacks=False)
    allow = allow_fallbacks if controls.allow_fallbacks is None else controls.allow_fallbacks
    relays = tuple(c.provider for c in lane.candidates if c.reads_controls)
    for_relays = {
        field
        for field in ("order", "only", "ignore")
        if relays and not any(name in ours for name in getattr(controls, field))
    }
    steering = Steering(
        order=(relays if controls.order else ()) if "order" in for_relays else controls.order,
        only=None if "only" in for_relays else controls.only or None,
        ignore=() if "ignore" in for_relays else controls.ignore,
        sort=controls.sort,
        allow_fallbacks=allow is not False,
        max_prompt_usd=controls.max_prompt_usd,
        max_completion_usd=controls.max_completion_usd,
        no_training=controls.no_training,
        no_retention=controls.no_retention,
        beyond=(*controls.beyond, *(("provider.only",) if controls.only and "only" in for_relays else ())),
    )
    return None if steering == _NO_DEMANDS else steering


def obey(steering: Steering, lane: Lane) -> Obeyed:
    """Those of the lane that meet every demand, and which demand each of the others does not."""
    remaining = lane.candidates
    excluded: dict[str, RuledOut] = {}
    for param, word, meets in _demands(steering):
        meeting = tuple(candidate for candidate in remaining if meets(candidate))
        if len(meeting) < len(remaining):
            excluded.update({candidate.provider: word for candidate in remaining if candidate not in meeting})
        if not meeting:
            return Obeyed(frozenset(), excluded, param)
        remaining = meeting
    return Obeyed(frozenset(candidate.provider for candidate in remaining), excluded)


def _demands(steering: Steering) -> Iterator[_Demand]:
    if steering.only is not None:
        only = frozenset(steering.only)
        yield "provider.only", "not_in_only", lambda candidate: candidate.provider in only
    if steering.ignore:
        ignore = frozenset(steering.ignore)
        yield "provider.ignore", "ignored", lambda candidate: candidate.provider not in ignore
    if steering.order and not steering.allow_fallbacks:
        order = frozenset(steering.order)
        yield "provider.order", "not_in_order", lambda candidate: candidate.provider in order
    for param in steering.beyond:
        yield param, "demand_unknown", lambda candidate: candidate.reads_controls
    if steering.no_retention:
        yield (
            "provider.zdr",
            "data_policy",
            lambda candidate: candidate.reads_controls or candidate.zero_retention is True,
        )
    if steering.no_training:
        # A provider that keeps nothing has nothing to train on.
        yield (
            "provider.data_collection",
            "data_policy",
            lambda c: c.reads_controls or c.trains_on_prompts is False or c.zero_retention is True,
        )
    if (prompt := steering.max_prompt_usd) is not None:
        yield (
            "provider.max_price.prompt",
            "above_max_price",
            lambda c: c.reads_controls or (c.price is not None and c.price.input <= prompt),
        )
    if (completion := steering.max_completion_usd) is not None:
        yield (
            "provider.max_price.completion",
            "above_max_price",
            lambda c: c.reads_controls or (c.price is not None and c.price.output <= completion),
        )
