"""Requests for what lives in a provider's account: files, batches and the like, and responses by their ids.

All clients share these accounts, so each is shown what is its own: by its id alone, which is looked up.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Lane, Snapshot
from limpet_extproc.dialects.form import Form
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.memory.objects import PlacesUnknownError
from limpet_extproc.request import identity
from limpet_extproc.request.object_ids import ids_in_turn, named_ids, object_path
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import ReadRequest
from limpet_extproc.request.refusals import apart, no_list, no_object, places_unknown, unknown_model

_NAMELESS: Final = ParsedRequest(model="", fingerprint=b"", model_form="plain")
_STREAM: Final = re.compile(r"[?&]stream=true(?:&|$)")
"""In the query of a response by its id."""
_EMPTY: Final = (b"", b"{}")
_METHOD: Final = ":method"
_ALL_OBJECTS: Final = "objects"


class ObjectRouting:
    """Finds the provider of an object, or one for a new object."""

    def __init__(self, read: ReadRequest, snapshot: Callable[[], Snapshot], pins: Pins, secret: bytes) -> None:
        self._read = read
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
                return await self._by_id(head, body, asked.id)
            if head.headers.get(_METHOD, "POST") != "POST":
                return no_list(head.asked.path)
            return await self._new(head, body)
        except PlacesUnknownError:
            return places_unknown(None)

    async def _by_id(self, head: RequestHead, body: bytes | memoryview, object_id: str) -> Opened | Refusal:
        owner = self._owner(head)
        found = await self._pins.find(owner, object_id, patiently=True)
        lane = self._snapshot().object_lane(head.api.name, found.provider) if found.provider else None
        if lane is None:
            return no_object(head.api.name, object_id)
        request = replace(_NAMELESS, stream=_STREAM.search(head.headers.get(":path", "")) is not None)
        return self._opened(head, body, request, lane, found.provider, "")

    async def _new(self, head: RequestHead, body: bytes | memoryview) -> Opened | Refusal:
        snapshot, api = self._snapshot(), head.api.name
        request: ParsedRequest | Refusal = _NAMELESS
        if len(body) > len(_EMPTY[-1]) or bytes(body) not in _EMPTY:
            request = await self._read(head, body)
        if isinstance(request, Refusal):
            return request
        # Of what has a model there are those that no client asks for in turns: bases for fine-tuning, say.
        lane = snapshot.lanes.get((api, request.model)) or snapshot.object_lane(api)
        if lane is None:
            return unknown_model("", api, snapshot)
        if not lane.model:
            request = replace(request, model="", model_form="plain")
        owner = self._owner(head)
        ids = () if isinstance(head.dialect, Form) else named_ids(body)
        where = await self._where(owner, ids, lane, required=True)
        return where if isinstance(where, Refusal) else self._opened(head, body, request, lane, where, owner)

    async def of_turn(self, opened: Opened) -> Opened | Refusal:
        """The request, for the provider that has the files and the like that it names; those may be from elsewhere."""
        ids = () if isinstance(opened.head.dialect, Form) else ids_in_turn(opened.body)
        if not ids:
            return opened
        try:
            head, lane = opened.head, opened.query.lane
            where = await self._where(self._owner(head), ids, lane, required=False)
        except PlacesUnknownError:
            return places_unknown(None)
        return where if isinstance(where, Refusal) else replace(opened, query=replace(opened.query, pinned=where))

    async def _where(self, owner: str, ids: Iterable[str], lane: Lane, *, required: bool) -> str | Refusal:
        """The provider that has all these; empty: any that is asked by this API will do."""
        alone, unknown = len(lane.candidates) == 1, ""
        providers: dict[str, str] = {}
        for object_id in ids:
            found = await self._pins.find(owner, object_id, patiently=not alone)
            if found.strangers:
                return no_object("", object_id)
            if found.provider:
                providers[found.provider] = object_id
            else:
                unknown = unknown or object_id
        if len(providers) > 1:
            return apart(providers)
        provider, object_id = next(iter(providers.items()), ("", unknown))
        if provider in lane.by_provider or not object_id or (not provider and (alone or not required)):
            return provider
        return no_object("", object_id)

    def _owner(self, head: RequestHead) -> str:
        return identity.owner(self._secret, identity.tenant(head.headers))

    def _opened(
        self, head: RequestHead, body: bytes | memoryview, request: ParsedRequest, lane: Lane, pinned: str, owner: str
    ) -> Opened:
        tenant = identity.tenant(head.headers)
        # The same for all that a client makes, so that all of it comes to one provider.
        key = identity.key(self._secret, tenant, None, "", _ALL_OBJECTS, b"")
        query = Query(lane, key, 0, 0, stays=False, pinned=pinned, placed=not pinned)
        return Opened(request, query, "", self._snapshot().providers, owner, head, body)
