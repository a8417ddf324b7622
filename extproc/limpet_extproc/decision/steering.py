"""What the client demands of the choice, and which candidates meet it."""

from collections.abc import Callable, Container, Iterator
from typing import Final

import msgspec

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.reasons import RuledOut
from limpet_extproc.decision.snapshot import Candidate, Lane
from limpet_extproc.dialects.port import ProviderObject, Sort


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
    unsupported: tuple[str, ...] = ()
    """Demands that only a provider that reads the object itself can meet."""
    untranslatable: str = ""
    """A field of the request that cannot be translated, so that only who speaks its dialect can serve it."""
    untranslatable_why: str = ""

    def chooses(self) -> bool:
        """Whether it chooses among providers; else it only restricts them, and memory counts."""
        return bool(self.order or self.only or self.ignore or self.sort or not self.allow_fallbacks)

    def sorts_by_price(self) -> bool:
        """Whether all that it chooses is the cheapest for this request, so that it matters where that is warm."""
        return self.sort == "price" and not (self.order or self.only or self.ignore) and self.allow_fallbacks


class Allowed(msgspec.Struct, frozen=True, gc=False):
    """What a client's demands leave of a lane."""

    providers: frozenset[str]
    excluded: dict[str, RuledOut]
    unmet: str = ""
    """The first demand that leaves none, as an error's `param`."""


_NO_DEMANDS = Steering()

_ROUNDING: Final = 1 + 1e-9
"""What a price may seem to be above a limit that equals it, as products of decimal numbers do in floating point."""

PriceOf = Callable[[Candidate], Price | None]
"""What the request's tokens cost there; None: unknown, which is within no limit."""
_Demand = tuple[str, RuledOut, Callable[[Candidate], bool]]


def steering_of(
    provider_object: ProviderObject | None, allow_fallbacks: bool | None, lane: Lane, ours: Container[str]
) -> Steering | None:
    """What is demanded, for a model of this lane; None unless something is.

    A list that names none of `ours`, our providers, is for a provider that reads the object itself, if there is one.
    """
    if provider_object is None:
        return None if allow_fallbacks in (None, True) else Steering(allow_fallbacks=False)
    allow = allow_fallbacks if provider_object.allow_fallbacks is None else provider_object.allow_fallbacks
    object_readers = tuple(c.provider for c in lane.candidates if c.reads_provider_object)
    for_object_readers = {
        field
        for field in ("order", "only", "ignore")
        if object_readers and not any(name in ours for name in getattr(provider_object, field))
    }
    order, only, ignore = provider_object.order, provider_object.only, provider_object.ignore
    unsupported = provider_object.unsupported
    if "order" in for_object_readers and order:
        order = object_readers
    if "only" in for_object_readers and only:
        only, unsupported = (), (*unsupported, "provider.only")
    if "ignore" in for_object_readers:
        ignore = ()
    steering = Steering(
        order=order,
        only=only or None,
        ignore=ignore,
        sort=provider_object.sort,
        allow_fallbacks=allow is not False,
        max_prompt_usd=provider_object.max_prompt_usd,
        max_completion_usd=provider_object.max_completion_usd,
        no_training=provider_object.no_training,
        no_retention=provider_object.no_retention,
        unsupported=unsupported,
    )
    return None if steering == _NO_DEMANDS else steering


def allowed_by(steering: Steering, lane: Lane, price_of: PriceOf) -> Allowed:
    """Those of the lane that meet every demand, and which demand each of the others does not."""
    remaining = lane.candidates
    excluded: dict[str, RuledOut] = {}
    for param, word, meets in _demands(steering, price_of):
        meeting = tuple(candidate for candidate in remaining if meets(candidate))
        if len(meeting) < len(remaining):
            excluded.update({candidate.provider: word for candidate in remaining if candidate not in meeting})
        if not meeting:
            return Allowed(frozenset(), excluded, param)
        remaining = meeting
    return Allowed(frozenset(candidate.provider for candidate in remaining), excluded)


def _demands(steering: Steering, price_of: PriceOf) -> Iterator[_Demand]:
    if steering.only is not None:
        only = frozenset(steering.only)
        yield "provider.only", "not_in_only", lambda candidate: candidate.provider in only
    if steering.ignore:
        ignore = frozenset(steering.ignore)
        yield "provider.ignore", "ignored", lambda candidate: candidate.provider not in ignore
    if steering.order and not steering.allow_fallbacks:
        order = frozenset(steering.order)
        yield "provider.order", "not_in_order", lambda candidate: candidate.provider in order
    for param in steering.unsupported:
        yield param, "demand_unknown", lambda candidate: candidate.reads_provider_object
    if steering.no_retention:
        yield (
            "provider.zdr",
            "data_policy",
            lambda candidate: candidate.reads_provider_object or candidate.zero_retention is True,
        )
    if steering.no_training:
        # A provider that keeps nothing has nothing to train on.
        yield (
            "provider.data_collection",
            "data_policy",
            lambda c: c.reads_provider_object or c.trains_on_prompts is False or c.zero_retention is True,
        )
    if (prompt := steering.max_prompt_usd) is not None:
        yield (
            "provider.max_price.prompt",
            "above_max_price",
            lambda c: (
                c.reads_provider_object or ((price := price_of(c)) is not None and price.input <= prompt * _ROUNDING)
            ),
        )
    if (completion := steering.max_completion_usd) is not None:
        yield (
            "provider.max_price.completion",
            "above_max_price",
            lambda c: (
                c.reads_provider_object
                or ((price := price_of(c)) is not None and price.output <= completion * _ROUNDING)
            ),
        )
    if steering.untranslatable:
        yield steering.untranslatable, "untranslatable", lambda candidate: not candidate.translated
