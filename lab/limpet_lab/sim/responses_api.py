"""`POST /responses`, what belongs to one by its id, and `/conversations`."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from limpet_lab.sim.chat import json_object
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.provider import ObjectAnswer, SimulatedProvider, answering
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.responses import AskedResponse, read_response
from limpet_lab.sim.responses_store import OpenConversation, ResponseStore
from limpet_lab.sim.responses_writer import ResponsesWriter
from limpet_lab.sim.serve import serve


def response_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """Where a seller that speaks Responses answers."""
    store, base = seller.responses, seller.config.base
    if "OpenAIResponses" not in seller.rules.dialects:
        return

    async def read(request: web.Request, account: str) -> AskedResponse:
        data, known = await request.read(), seller.fields("responses")
        asked = read_response(data, known, seller.config.tokens, store, account)
        seller.require_model(asked.turn.model)
        return asked

    async def create(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, fault: Fault) -> web.StreamResponse:
            asked = await read(request, account)
            return await serve(seller, request, asked.turn, ResponsesWriter(asked, store, account), account, fault)

        return await seller.handle(request, "responses", reply)

    async def count(request: web.Request, account: str) -> object:
        asked = await read(request, account)
        return {"object": "response.input_tokens", "input_tokens": asked.turn.prompt.tokens}

    async def compact(request: web.Request, account: str) -> object:
        asked = await read(request, account)
        item = {"id": "cmp_" + seller.new_id(), "type": "compaction", "encrypted_content": "compacted"}
        tokens = asked.turn.prompt.tokens
        usage = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        head = {"id": "resp_" + seller.new_id(), "object": "response.compaction", "created_at": _now(seller)}
        return {**head, "output": [item], "usage": {**usage, **details}}

    yield web.post(base + "/responses", create)
    for method, path, answer in (
        ("POST", "/responses/input_tokens", count),
        ("POST", "/responses/compact", compact),
        *_by_id(store),
        *(_conversations(seller, store) if "conversations" in seller.rules.endpoints else ()),
    ):
        yield web.route(method, base + path, answering(seller, answer))


def _by_id(store: ResponseStore) -> Iterable[tuple[str, str, ObjectAnswer]]:
    async def retrieve(request: web.Request, account: str) -> object:
        stored = store.require(account, request.match_info["id"])
        if stored.later:
            stored.shown = stored.later.pop(0)
        return stored.shown

    async def delete(request: web.Request, account: str) -> object:
        store.drop(account, request.match_info["id"])
        return {"id": request.match_info["id"], "object": "response", "deleted": True}

    async def cancel(request: web.Request, account: str) -> object:
        stored = store.require(account, request.match_info["id"])
        if not stored.shown["background"]:
            raise RefusalError(400, "Cannot cancel a synchronous response.")
        if stored.later:
            stored.shown, stored.later = {**stored.shown, "status": "cancelled"}, []
        return stored.shown

    async def input_items(request: web.Request, account: str) -> object:
        return _listed(store.require(account, request.match_info["id"]).given)

    yield "GET", "/responses/{id}", retrieve
    yield "DELETE", "/responses/{id}", delete
    yield "POST", "/responses/{id}/cancel", cancel
    yield "GET", "/responses/{id}/input_items", input_items


def _conversations(seller: SimulatedProvider, store: ResponseStore) -> Iterable[tuple[str, str, ObjectAnswer]]:
    async def create(request: web.Request, account: str) -> object:
        body = json_object(await request.read() or b"{}")
        shown = {"id": "conv_" + seller.new_id(), "object": "conversation", "created_at": _now(seller)}
        shown["metadata"] = body.get("metadata") or {}
        items: Any = body.get("items") or ()
        store.open(account, str(shown["id"]), OpenConversation(shown, tuple({"type": "message", **i} for i in items)))
        return shown

    async def retrieve(request: web.Request, account: str) -> object:
        return store.conversation(account, request.match_info["id"]).shown

    async def delete(request: web.Request, account: str) -> object:
        store.end(account, request.match_info["id"])
        return {"id": request.match_info["id"], "object": "conversation.deleted", "deleted": True}

    async def items(request: web.Request, account: str) -> object:
        found = store.conversation(account, request.match_info["id"]).items
        return _listed(tuple({"id": f"item_{number}", **item} for number, item in enumerate(found)))

    yield "POST", "/conversations", create
    yield "GET", "/conversations/{id}", retrieve
    yield "DELETE", "/conversations/{id}", delete
    yield "GET", "/conversations/{id}/items", items


def _listed(items: tuple[dict[str, Any], ...]) -> dict[str, object]:
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": "", "last_id": ""}
    return {"object": "list", "data": items, "has_more": False, **ends}


def _now(seller: SimulatedProvider) -> int:
    return int(seller.times.wall())
