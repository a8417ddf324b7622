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
    cuts_for_readers: tuple[Span, ...] | None = None
    """Instead of `cuts`, where the provider reads the `provider` object itself; None: no such one is in the order."""


def edits(
    request: ParsedRequest, order: tuple[str, ...], candidates: Mapping[str, Candidate], providers: Container[str]
) -> Edits | None:
    """None when every provider of the order takes the body as it is. `providers` are those of the catalog."""
    ours = request.ours
    if not ours and all(candidates[name].upstream_model == request.model for name in order):
        return None
    readers = ours and any(candidates[name].reads_controls for name in order)
    return Edits(request.model_span, cuts(ours), _cuts_for_readers(request, providers) if readers else None)


def _cuts_for_readers(request: ParsedRequest, providers: Container[str]) -> tuple[Span, ...]:
    """The `provider` object stays, without the lists that name our providers.

    But `ignore` stays if it names others too: a reader may send the request on to these.
    """
    controls = request.controls
    lists = (
        member
        for member in (controls.lists if controls else ())
        if (all if member.name == "ignore" else any)(name in providers for name in getattr(controls, member.name))
    )
    ours = (member for member in request.ours if member.name != "provider")
    return tuple(sorted((*cuts(ours), *cuts(lists))))
