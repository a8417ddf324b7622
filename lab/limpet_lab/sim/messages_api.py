"""`POST /messages` and `POST /messages/count_tokens`."""

from collections.abc import Iterable

from aiohttp import web

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.messages import read_messages
from limpet_lab.sim.messages_writer import MessagesWriter
from limpet_lab.sim.provider import SimulatedProvider, json_response
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.serve import serve
from limpet_lab.sim.turn import AskedTurn


def message_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """Where a seller that speaks Messages answers."""

    async def read(request: web.Request, *, counting: bool) -> AskedTurn:
        if "anthropic-version" not in request.headers:
            raise RefusalError(400, "anthropic-version: header is required")
        known = seller.fields("countTokens" if counting else "messages")
        if "anthropic-beta" in request.headers:  # what a beta adds is not known here
            known = None
        turn = read_messages(await request.read(), known, seller.config.tokens, counting=counting)
        seller.require_model(turn.model)
        return turn

    async def create(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, fault: Fault) -> web.StreamResponse:
            turn = await read(request, counting=False)
            return await serve(seller, request, turn, MessagesWriter(), account, fault)

        return await seller.handle(request, "messages", reply, "Anthropic")

    async def count(request: web.Request) -> web.StreamResponse:
        async def reply(_account: str, _fault: Fault) -> web.StreamResponse:
            turn = await read(request, counting=True)
            return json_response(200, {"input_tokens": turn.prompt.tokens})

        return await seller.handle(request, "other", reply, "Anthropic")

    if "AnthropicMessages" in seller.rules.dialects:
        for base in seller.rules.messages_bases(seller.config.base):
            yield web.post(base + "/messages", create)
            yield web.post(base + "/messages/count_tokens", count)
