"""Requests for what lives in a provider's account: files, batches and the like, and responses by their ids.

All clients share these accounts, so each is shown what is its own: by its id alone, which is looked up.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Lane, Snapshot
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.memory.objects import PlacesUnknownError
from limpet_extproc.request import identity
from limpet_extproc.request.clients import unseen_model
from limpet_extproc.request.object_ids import ObjectPath, object_path
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.pins import Found, Pins
from limpet_extproc.request.reading import FindReferences, ReadRequest
from limpet_extproc.request.references import Searched
from limpet_extproc.request.refusals import (
    apart,
    bad_request,
    gone,
    no_list,
    no_object,
    places_unknown,
    unknown_model,
)

_NAMELESS: Final = ParsedRequest(model="", fingerprint=b"", model_form="plain")
_STREAM: Final = re.compile(r"[?&]stream=true(?:&|$)")
"""In the query of a response by its id."""
_EMPTY: Final = (b"", b"{}")
_FORM_IN_LINE: Final = "x-www-form-urlencoded"
_METHOD: Final = ":method"
_ALL_OBJECTS: Final = "objects"
_CANCEL: Final = "/cancel"


class ObjectRouting:
    """Finds the provider of an object, or one for a new object."""

    def __init__(
        self,
        read: ReadRequest,
        references: FindReferences,
        snapshot: Callable[[], Snapshot],
        pins: Pins,
        secret: bytes,
    ) -> None:
        self._read = read
        self._references = references
        self._snapshot = snapshot
        self._pins = pins
        self._secret = secret

    async def open(self, head: RequestHead, body: bytes | memoryview) -> Opened | Refusal:
        """The request as one that can be decided, or why it goes nowhere."""
        asked = object_path(head.api, head.asked.path)
        try:
            if asked.odd:
                return no_object(head.api.name, asked.id)
            if asked.id:
                return await self._by_id(head, body, asked)
            if (method := head.headers.get(_METHOD, "POST")) != "POST":
                return no_list(method, head.asked.path)
            return await self._new(head, body)
        except PlacesUnknownError:
            return places_unknown(None)

    async def _by_id(self, head: RequestHead, body: bytes | memoryview, asked: ObjectPath) -> Opened | Refusal:
        object_id, owner, method = asked.id, self._owner(head), head.headers.get(_METHOD, "POST")
        client = head.client
        changes = method == "POST" and not head.asked.path.endswith(_CANCEL)
        if client is not None and changes and (no := unseen_model(client, head.api.name)):
            return no
        named = await self._named(head, body, "object") if len(body) else ()
        if isinstance(named, Refusal):
            return named
        found = await self._pins.find_all(owner, (object_id, *named), patiently=True)
        if not (home := found[object_id].provider):
            return no_object(head.api.name, object_id)
        lane = self._snapshot().object_lane(head.api.name, home)
        if lane is None:
            return no_object(head.api.name, object_id)
        where = _where(found, lane, required=True)
        if isinstance(where, Refusal):
            return where
        request = replace(_NAMELESS, stream=_STREAM.search(head.headers.get(":path", "")) is not None)
        # The content of a file is its client's own words, and makes nothing.
        makes = method == "POST" or (method == "GET" and asked.whole)
        return self._opened(head, body, request, lane, where, owner if makes else "")

    async def _new(self, head: RequestHead, body: bytes | memoryview) -> Opened | Refusal:
        snapshot, api, client = self._snapshot(), head.api.name, head.client
        request: ParsedRequest | Refusal = _NAMELESS
        named: tuple[str, ...] | Refusal = ()
        if len(body) > len(_EMPTY[-1]) or bytes(body) not in _EMPTY:
            request = await self._read(head, body)
            named = request if isinstance(request, Refusal) else await self._named(head, body, "object")
        if isinstance(request, Refusal):
            return request
        if isinstance(named, Refusal):
            return named
        if client is not None:
            no = unseen_model(client, api, request.model)
            if no is not None:
                return no
        # Of what has a model there are those that no client asks for in turns: bases for fine-tuning, say.
        lane = snapshot.lanes.get((api, request.model)) or snapshot.object_lane(api)
        if lane is None:
            return unknown_model("", api, snapshot)
        if not lane.model:
            request = replace(request, model="", model_form="plain")
        owner = self._owner(head)
        found = await self._pins.find_all(owner, named, patiently=True) if named else {}
        where = _where(found, lane, required=True)
        return where if isinstance(where, Refusal) else self._opened(head, body, request, lane, where, owner)

    async def _named(
        self, head: RequestHead, body: bytes | memoryview, searched: Searched
    ) -> tuple[str, ...] | Refusal:
        if _FORM_IN_LINE in head.headers.get("content-type", "").lower():
            return bad_request(None, "a form of this type cannot be read here: send JSON, or multipart/form-data")
        return await self._references(head, body, searched)

    async def of_turn(self, opened: Opened) -> Opened | Refusal:
        """The request, for the provider that has what it goes on from, and the files and the like that it names.

        Of what it goes on from and is not known, the only provider of the model is asked itself. Files and items that
        are not known may be from elsewhere; none may be another client's.
        """
        head, lane, pin = opened.head, opened.query.lane, opened.request.pin
        if self._snapshot().keeps_objects:
            named = await self._named(head, opened.body, "turn")
        else:
            named = await self._references(head, opened.body, "items") if head.api.name == "OpenAIResponses" else ()
        if isinstance(named, Refusal):
            return named
        if not named and pin is None:
            return opened
        alone = lane.candidates[0].provider if len(lane.candidates) == 1 else ""
        ids = dict.fromkeys((pin.id, *named) if pin else named)
        try:
            found = await self._pins.find_all(self._owner(head), ids, patiently=not alone)
        except PlacesUnknownError:
            return places_unknown(pin.field if pin else None)
        if pin is not None:
            goes_on = found[pin.id]
            found[pin.id] = Found(goes_on.provider or ("" if goes_on.strangers else alone))
            if found[pin.id].provider not in lane.by_provider:
                return gone(pin)
        where = _where(found, lane, required=False)
        return where if isinstance(where, Refusal) else replace(opened, query=replace(opened.query, pinned=where))

    def _owner(self, head: RequestHead) -> str:
        return identity.owner(self._secret, identity.tenant(head.headers, head.client)).name

    def _opened(
        self, head: RequestHead, body: bytes | memoryview, request: ParsedRequest, lane: Lane, pinned: str, owner: str
    ) -> Opened:
        tenant = identity.tenant(head.headers, head.client)
        # The same for all that a client makes, so that all of it comes to one provider.
        key = identity.key(self._secret, tenant, None, "", _ALL_OBJECTS, b"")
        query = Query(lane, key, 0, 0, stays=False, pinned=pinned, placed=not pinned)
        return Opened(request, query, "", self._snapshot().providers, owner, head, body)


def _where(found: Mapping[str, Found], lane: Lane, *, required: bool) -> str | Refusal:
    """The provider that has all these; empty: any that is asked by this API will do."""
    providers: dict[str, str] = {}
    for object_id, each in found.items():
        if each.strangers or (required and not each.provider):
            return no_object("", object_id)
        if each.provider:
            providers.setdefault(each.provider, object_id)
    if len(providers) > 1:
        return apart(providers)
    provider, object_id = next(iter(providers.items()), ("", ""))
    return no_object("", object_id) if provider and provider not in lane.by_provider else provider
