"""What attempts change of a request's body."""

from collections.abc import Container, Mapping

import msgspec

from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.dialects.spans import Span, cuts


class Edits(msgspec.Struct, frozen=True, gc=False):
    """The model's name is replaced where the provider has another, and Limpet's own fields are cut."""

    model_span: Span
    cuts: tuple[Span, ...] = ()
    provider_object_cuts: tuple[Span, ...] | None = None
    """Instead of `cuts`, where the provider reads the `provider` object itself; None: no such one is in the order."""


def edits(
    request: ParsedRequest, order: tuple[str, ...], candidates: Mapping[str, Candidate], providers: Container[str]
) -> Edits | None:
    """None when every provider of the order takes the body as it is. `providers` are those of the catalog."""
    ours = request.ours
    if not ours and all(candidates[name].upstream_model == request.model for name in order):
        return None
    any_reads = ours and any(candidates[name].reads_provider_object for name in order)
    return Edits(request.model_span, cuts(ours), _provider_object_cuts(request, providers) if any_reads else None)


def _provider_object_cuts(request: ParsedRequest, providers: Container[str]) -> tuple[Span, ...]:
    """The `provider` object stays, without the lists that name our providers.

    But `ignore` stays if it names others too: a reader may send the request on to these.
    """
    written = request.provider_object
    lists = (
        member
        for member in (written.lists if written else ())
        if (all if member.name == "ignore" else any)(name in providers for name in getattr(written, member.name))
    )
    ours = (member for member in request.ours if member.name != "provider")
    return tuple(sorted((*cuts(ours), *cuts(lists))))
