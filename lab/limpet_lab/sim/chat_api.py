"""`POST /chat/completions`."""

from collections.abc import Iterable

from aiohttp import web

from limpet_lab.sim.chat import read_chat
from limpet_lab.sim.chat_writer import ChatWriter
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.provider import SimulatedProvider
from limpet_lab.sim.serve import serve


def chat_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """Where a seller that speaks chat completions answers."""

    async def create(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, fault: Fault) -> web.StreamResponse:
            chat = read_chat(await request.read(), seller.fields("chat"))
            seller.require_model(chat.model)
            writer = ChatWriter(seller.rules, include_usage=chat.include_usage, show_cache=seller.show_cache)
            return await serve(seller, request, chat.turn(seller.config.tokens), writer, account, fault)

        return await seller.handle(request, "chat", reply)

    if "OpenAIChat" in seller.rules.dialects:
        yield web.post(seller.config.base + "/chat/completions", create)
