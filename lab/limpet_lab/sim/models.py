"""`GET /models` and `GET /models/{id}`, as each SDK expects them."""

from collections.abc import Iterable

from aiohttp import web

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.provider import SimulatedProvider, json_response
from limpet_lab.sim.refusal import ErrorShape


def model_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """All sellers have them. A client of Anthropic's tells by its version header, and Anthropic knows no others."""

    def shape_for(request: web.Request) -> ErrorShape:
        speaks = "AnthropicMessages" in seller.rules.dialects
        known = "anthropic-version" in request.headers or len(seller.rules.dialects) == 1
        return "Anthropic" if speaks and known else "OpenAI"

    def described(name: str, shape: ErrorShape) -> dict[str, object]:
        if shape == "Anthropic":
            return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        return {"id": name, "object": "model", "created": 0, "owned_by": seller.config.vendor.lower()}

    async def listed(request: web.Request) -> web.StreamResponse:
        shape = shape_for(request)

        async def reply(_account: str, _fault: Fault) -> web.StreamResponse:
            models = [described(model.name, shape) for model in seller.config.models]
            if shape == "Anthropic":
                ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]}
                return json_response(200, {"data": models, "has_more": False, **ends})
            return json_response(200, {"object": "list", "data": models})

        return await seller.handle(request, "models", reply, shape)

    async def one(request: web.Request) -> web.StreamResponse:
        shape = shape_for(request)

        async def reply(_account: str, _fault: Fault) -> web.StreamResponse:
            name = request.match_info["name"]
            seller.require_model(name)
            return json_response(200, described(name, shape))

        return await seller.handle(request, "models", reply, shape)

    for base in {seller.config.base, *seller.rules.messages_bases(seller.config.base)}:
        yield web.get(base + "/models", listed)
        yield web.get(base + "/models/{name:.+}", one)
