"""What each provider of the order gets another body for, as splices of the client's own bytes."""

from collections.abc import Container
from typing import Final, Literal, NamedTuple

import msgspec

from limpet_extproc.contract.catalog import CacheControl
from limpet_extproc.decision.breakpoints import adds_breakpoint
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.dialects.port import LastBlock, ParsedRequest
from limpet_extproc.dialects.spans import Member, cuts
from limpet_extproc.request.cache_keys import cache_key, put_key
from limpet_extproc.request.cache_marks import put_marks
from limpet_extproc.request.opened import Opened, last_blocks
from limpet_extproc.request.splices import AnyBody, BodyDraft, Splice, Splices
from limpet_extproc.request.stream_usage import cut_options, put_usage


class Edits(msgspec.Struct, frozen=True, gc=False):
    """The splices of each provider of an order."""

    common: Splices
    own: tuple[tuple[str, Splices], ...] = ()
    """Of the providers that get others."""
    hides_usage: bool = False
    """Whether the usage of a stream is kept from its client, who did not ask for it: a provider is asked for it, or
    sends it to all."""

    def of(self, provider: str) -> Splices:
        """What this one gets."""
        return next((splices for name, splices in self.own if name == provider), self.common)


def edits(opened: Opened, order: tuple[str, ...], before: int = 0) -> Edits | None:
    """None if every provider of the order takes the body as it is.

    `before`: how many requests of the conversation came in this minute, see `KeyRates`.
    """
    request, lane = opened.request, opened.query.lane
    candidates = lane.by_provider
    renamed = lane.renames and any(candidates[name].upstream_model != lane.model for name in order)
    # Where nothing but the model's name and the usage of a stream can differ: nearly all requests.
    if (
        request.cache is None
        and not request.ours
        and request.model_form == "json"
        and not request.model_differs
        and not lane.marks
        and not lane.adds_keys
        and not lane.cuts_options
    ):
        model = (Splice(*request.model_span, True),) if renamed else ()
        if request.usage_asked:
            return Edits(model) if model else None
        return _with_usage(opened, model)
    body = _Body(opened, before, renamed)
    splices = [body.splices(candidates[name]) for name in order]
    own = tuple((name, each) for name, each in zip(order, splices, strict=True) if each != splices[0])
    return Edits(splices[0], own, body.hides_usage) if splices[0] or own or body.hides_usage else None


def _with_usage(opened: Opened, model: Splices) -> Edits | None:
    draft = BodyDraft()
    if not put_usage(draft, opened.body, opened.request.stream_options):
        return Edits(model) if model else None
    draft.splices.extend(model)
    return Edits(draft.done(opened.body), hides_usage=True)


class _Wants(NamedTuple):
    """What a provider is sent, as far as it differs between providers."""

    model: str | Literal[True] | None
    reads_provider_object: bool
    cache_control: CacheControl
    adds_breakpoint: bool
    retention: bool
    cache_key: str
    stream_usage: bool
    stream_options: bool


class _Body:
    """One request for all the providers that may get it; equal wishes get the same splices."""

    __slots__ = ("_before", "_last_blocks", "_made", "_opened", "_renamed", "_request", "hides_usage")

    def __init__(self, opened: Opened, before: int, renamed: bool) -> None:
        self._opened = opened
        self._request = opened.request
        self._before = before
        self._renamed = renamed
        self._last_blocks: tuple[LastBlock, ...] | None = None
        self._made: dict[_Wants, Splices] = {}
        self.hides_usage = False

    def splices(self, candidate: Candidate) -> Splices:
        """What changes on the way to this one."""
        wants = self._wants(candidate)
        made = self._made.get(wants)
        if made is None:
            made = self._made[wants] = self._draft(wants).done(self._opened.body)
        return made

    def _wants(self, candidate: Candidate) -> _Wants:
        query, request = self._opened.query, self._request
        turn = self._opened.head.api.kind == "conversation"
        adds_key = turn and candidate.cache_key and not (request.cache and request.cache.has_key)
        return _Wants(
            self._model(candidate),
            candidate.reads_provider_object,
            candidate.cache_control,
            turn and adds_breakpoint(candidate, query),
            candidate.cache_fields.retention,
            self._cache_key(candidate) if adds_key else "",
            candidate.stream_usage and not request.usage_asked,
            candidate.stream_usage or request.model_form == "plain",
        )

    def _cache_key(self, candidate: Candidate) -> str:
        most_a_minute = candidate.cache_fields.cache_key_rpm
        return cache_key(self._opened.query.key, candidate.provider, self._before, most_a_minute)

    def _model(self, candidate: Candidate) -> str | Literal[True] | None:
        """The name to write; None: as it is. True where it is a JSON string, which the Lua of the provider knows."""
        form = self._request.model_form
        if form == "missing" or self._in_path or self._request.model_differs:
            return candidate.upstream_model
        if not self._renamed:
            return None
        return True if form == "json" else candidate.upstream_model

    @property
    def _in_path(self) -> bool:
        """Whether it is a form without its model, which the path names."""
        request = self._request
        return request.model_form == "plain" and not request.model_span.length and bool(request.model)

    def _draft(self, wants: _Wants) -> BodyDraft:
        draft, request, body = BodyDraft(), self._request, self._opened.body
        directives = request.cache
        if wants.model is not None:
            self._put_model(draft, wants.model)
        if wants.reads_provider_object:
            draft.cut.extend(member for member in request.ours if member.name != "provider")
            draft.splices.extend(Splice(*cut, "") for cut in cuts(_naming_ours(request, self._opened.providers)))
        else:
            draft.cut.extend(request.ours)
        if directives is not None or wants.adds_breakpoint:
            put_marks(draft, directives, body, wants.cache_control, self._find_last_blocks, adds=wants.adds_breakpoint)
        if directives is not None and not wants.retention:
            draft.cut.extend(directives.retention)
        if wants.cache_key:
            put_key(draft, body, wants.cache_key)
        if wants.stream_usage:
            self.hides_usage |= put_usage(draft, body, request.stream_options)
        if not wants.stream_options:
            self.hides_usage |= not request.usage_asked
            cut_options(draft, body)
        return draft

    def _put_model(self, draft: BodyDraft, model: str | Literal[True]) -> None:
        if self._request.model_form == "missing":
            draft.added.append(f'"model":{msgspec.json.encode(model).decode()}')
        elif self._request.model_span.length:
            quoted = self._request.model_form == "json" and model is not True
            text = msgspec.json.encode(model).decode() if quoted else model
            draft.splices.append(Splice(*self._request.model_span, text))
        elif self._in_path:
            draft.splices.append(Splice(0, 0, f"{_first_line(self._opened.body)}{_MODEL_PART}{model}\r\n"))

    def _find_last_blocks(self) -> tuple[LastBlock, ...]:
        if self._last_blocks is None:
            self._last_blocks = last_blocks(self._opened)
        return self._last_blocks


_MODEL_PART: Final = '\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
_LONGEST_LINE: Final = 128
"""More than a boundary has (RFC 2046, section 5.1.1: 70)."""


def _first_line(form: AnyBody) -> str:
    """What stands before each part."""
    return bytes(form[:_LONGEST_LINE]).partition(b"\r\n")[0].decode()


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
