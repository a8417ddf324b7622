"""Files and batches: objects of one account."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from limpet_lab.sim.chat import json_object
from limpet_lab.sim.multipart import parts_of
from limpet_lab.sim.provider import ObjectAnswer, SimulatedProvider, answering
from limpet_lab.sim.refusal import RefusalError


class ObjectStore:
    """The objects of one kind, by account and id."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._objects: dict[tuple[str, str], tuple[dict[str, Any], bytes]] = {}

    def keep(self, account: str, shown: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        """Store one, or put it in place of the one with its id."""
        self._objects[account, shown["id"]] = (shown, content)
        return shown

    def require(self, account: str, id_: str) -> tuple[dict[str, Any], bytes]:
        """The object as it is shown, and its content. Raises RefusalError with status 404."""
        if (found := self._objects.get((account, id_))) is None:
            raise RefusalError(404, f"No such {self._kind} object: {id_}", param="id")
        return found

    def drop(self, account: str, id_: str) -> None:
        """Raises RefusalError with status 404."""
        self.require(account, id_)
        del self._objects[account, id_]

    def listed(self, account: str) -> dict[str, object]:
        """All of the account, the newest first."""
        own = [shown for (owner, _), (shown, _) in self._objects.items() if owner == account]
        ends = {"first_id": own[-1]["id"], "last_id": own[0]["id"]} if own else {"first_id": None, "last_id": None}
        return {"object": "list", "data": own[::-1], "has_more": False, **ends}


def file_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """Those that the vendor has."""
    files, batches = ObjectStore("File"), ObjectStore("Batch")
    for name, routes in (("files", _files(seller, files)), ("batches", _batches(seller, files, batches))):
        if name in seller.rules.endpoints:
            for method, path, answer in routes:
                yield web.route(method, seller.config.base + path, answering(seller, answer))


def _files(seller: SimulatedProvider, files: ObjectStore) -> Iterable[tuple[str, str, ObjectAnswer]]:
    async def upload(request: web.Request, account: str) -> object:
        parts = {p.name: p for p in parts_of(request.headers.get("content-type", ""), await request.read())}
        if "file" not in parts or "purpose" not in parts:
            raise RefusalError(400, "'file' and 'purpose' are required.", param="file")
        content = parts["file"].content
        shown = {
            "id": "file-" + seller.new_id(),
            "object": "file",
            "bytes": len(content),
            "created_at": int(seller.times.wall()),
            "filename": parts["file"].filename or "",
            "purpose": parts["purpose"].content.decode(),
            "status": "processed",
        }
        return files.keep(account, shown, content)

    async def listed(_request: web.Request, account: str) -> object:
        return files.listed(account)

    async def retrieve(request: web.Request, account: str) -> object:
        return files.require(account, request.match_info["id"])[0]

    async def content(request: web.Request, account: str) -> object:
        return web.Response(body=files.require(account, request.match_info["id"])[1])

    async def delete(request: web.Request, account: str) -> object:
        files.drop(account, request.match_info["id"])
        return {"id": request.match_info["id"], "object": "file", "deleted": True}

    yield "POST", "/files", upload
    yield "GET", "/files", listed
    yield "GET", "/files/{id}", retrieve
    yield "GET", "/files/{id}/content", content
    yield "DELETE", "/files/{id}", delete


def _batches(
    seller: SimulatedProvider, files: ObjectStore, batches: ObjectStore
) -> Iterable[tuple[str, str, ObjectAnswer]]:
    async def create(request: web.Request, account: str) -> object:
        body: dict[str, Any] = json_object(await request.read())
        files.require(account, str(body.get("input_file_id")))
        named = {name: body.get(name) for name in ("endpoint", "input_file_id", "completion_window", "metadata")}
        head = {"id": "batch_" + seller.new_id(), "object": "batch", "created_at": int(seller.times.wall())}
        return batches.keep(account, {**head, **named, "status": "in_progress"})

    async def listed(_request: web.Request, account: str) -> object:
        return batches.listed(account)

    async def retrieve(request: web.Request, account: str) -> object:
        return batches.require(account, request.match_info["id"])[0]

    async def cancel(request: web.Request, account: str) -> object:
        shown, _ = batches.require(account, request.match_info["id"])
        return batches.keep(account, {**shown, "status": "cancelling"})

    yield "POST", "/batches", create
    yield "GET", "/batches", listed
    yield "GET", "/batches/{id}", retrieve
    yield "POST", "/batches/{id}/cancel", cancel
