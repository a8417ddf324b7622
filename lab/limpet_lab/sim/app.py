"""The seller's APIs over HTTP: which path is answered by which of them."""

from aiohttp import web
from aiohttp.typedefs import Handler

from limpet_lab.sim.chat_api import chat_routes
from limpet_lab.sim.endpoints import endpoint_routes
from limpet_lab.sim.endpoints_media import media_routes
from limpet_lab.sim.files import file_routes
from limpet_lab.sim.messages_api import message_routes
from limpet_lab.sim.models import model_routes
from limpet_lab.sim.provider import SimulatedProvider, json_response
from limpet_lab.sim.refusal import ErrorShape, RefusalError
from limpet_lab.sim.responses_api import response_routes


def seller_app(seller: SimulatedProvider) -> web.Application:
    """The application without its control endpoints."""
    app = web.Application(client_max_size=seller.config.max_body_bytes, middlewares=[_errors_as_json, seller.record])
    for routes in (
        chat_routes,
        message_routes,
        response_routes,
        endpoint_routes,
        media_routes,
        file_routes,
        model_routes,
    ):
        app.router.add_routes(routes(seller))
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a wrong path, a wrong method or a body that is too big with an error object, as the API does."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        refusal = RefusalError(error.status, f"{error.reason}: {request.method} {request.path}")
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        shape: ErrorShape = "Anthropic" if "anthropic-version" in request.headers else "OpenAI"
        return json_response(error.status, refusal.body(shape), allowed)
