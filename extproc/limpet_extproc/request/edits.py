"""What each provider of the order gets another body for: splices of the client's own bytes, which all else stays."""

from collections.abc import Container
from typing import Final, Literal, NamedTuple

import msgspec

from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.dialects.spans import Member, Span, cuts
from limpet_extproc.request.opened import Opened


class Splice(NamedTuple):
    """New text in the place of `length` bytes from `offset`; True is the provider's own name of the model."""

    offset: int
    length: int
    text: str | Literal[True]


Splices = tuple[Splice, ...]
"""In the order of the body, none over another."""


class Edits(msgspec.Struct, frozen=True, gc=False):
    """The splices of each provider of an order."""

    common: Splices
    own: tuple[tuple[str, Splices], ...] = ()
    """Of the providers that get others."""

    def of(self, provider: str) -> Splices:
        """What this one gets."""
        return next((splices for name, splices in self.own if name == provider), self.common)


def edits(opened: Opened, order: tuple[str, ...]) -> Edits | None:
    """None when every provider of the order takes the body as it is."""
    request, candidates = opened.request, opened.query.lane.by_provider
    renamed = any(candidates[name].upstream_model != request.model for name in order)
    if not renamed and not request.ours and request.model_form != "missing":
        return None
    body = _Body(opened, renamed)
    splices = [body.splices(candidates[name]) for name in order]
    own = tuple((name, each) for name, each in zip(order, splices, strict=True) if each != splices[0])
    return Edits(splices[0], own) if splices[0] or own else None


class _Body:
    """One request, for every provider that may get it."""

    __slots__ = ("_begin", "_opened", "_renamed", "_request")

    def __init__(self, opened: Opened, renamed: bool) -> None:
        self._opened = opened
        self._request = opened.request
        self._renamed = renamed
        self._begin = -1

    def splices(self, candidate: Candidate) -> Splices:
        """What changes on the way to this one."""
        found = [Splice(*cut, "") for cut in self._cuts(candidate)]
        if model := self._model(candidate):
            found.append(model)
        return tuple(sorted(found))

    def _model(self, candidate: Candidate) -> Splice | None:
        span, form = self._request.model_span, self._request.model_form
        if form == "missing":
            return self._added(f'"model":{_text(candidate.upstream_model)}')
        if not self._renamed or not span.length:
            return None
        return Splice(*span, True if form == "json" else candidate.upstream_model)

    def _added(self, member: str) -> Splice:
        """A member before all others, of which at least one stays."""
        if self._begin < 0:
            self._begin = bytes(self._opened.body[:_NEAR]).find(b"{") + 1 or bytes(self._opened.body).index(b"{") + 1
        return Splice(self._begin, 0, member + ",")

    def _cuts(self, candidate: Candidate) -> tuple[Span, ...]:
        request = self._request
        if not candidate.reads_provider_object:
            return cuts(request.ours)
        ours = (member for member in request.ours if member.name != "provider")
        return (*cuts(ours), *cuts(_naming_ours(request, self._opened.providers)))


_NEAR: Final = 64


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()


def _naming_ours(request: ParsedRequest, providers: Container[str]) -> list[Member]:
    """Of the `provider` object: the lists that name our providers, which a reader of the object does not know.

    But `ignore` stays if it names others too: a reader may send the request on to these.
    """
    written = request.provider_object
    return [
        member
        for member in (written.lists if written else ())
        if (all if member.name == "ignore" else any)(name in providers for name in getattr(written, member.name))
    ]
