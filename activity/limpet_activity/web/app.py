"""The page as an ASGI application: give it to a server."""

from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from limpet_activity.store.port import ActivityStore, StoreError
from limpet_activity.web.api import ApiAnswers, error_answer
from limpet_activity.web.guard import HEALTH, Guard
from limpet_activity.web.own_address import own_address
from limpet_activity.web.pages import PageDrawer
from limpet_activity.web.question import QuestionError
from limpet_activity.web.settings import PageSettings


def web_app(store: ActivityStore, settings: PageSettings, now: Callable[[], float]) -> ASGIApp:
    """Everything of the page, and its JSON under /api/. `now` is the time in Unix seconds."""
    drawer = PageDrawer(store, settings, now)

    def trouble(request: Request, status: int, code: str, title: str, text: str) -> Response:
        if request.url.path.startswith("/api/"):
            return error_answer(status, code, text)
        return drawer.trouble(request, status, title, text)

    async def bad_question(request: Request, error: Exception) -> Response:
        assert isinstance(error, QuestionError)
        if request.url.path.startswith("/api/"):
            return error_answer(400, "bad_parameter", str(error), param=error.parameter)
        return drawer.bad_question(request, error)

    async def away(request: Request, error: Exception) -> Response:
        return trouble(request, 503, "store_away", "The store does not answer", str(error))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return trouble(request, error.status_code, "not_found", "There is nothing here", "No page has this address.")

    def failed(request: Request) -> Response:
        text = "The log of the activity service says why; please report this."
        return trouble(request, 500, "failed", "This page failed", text)

    async def unexpected(request: Request, _: Exception) -> Response:
        return failed(request)

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    app = Starlette(
        routes=[Route(HEALTH, health), *ApiAnswers(store, now).routes(), *drawer.routes()],
        exception_handlers={
            QuestionError: bad_question,
            StoreError: away,
            HTTPException: http_error,
            Exception: unexpected,
        },
    )

    return Guard(app, settings, now, partial(_sign_in_page, drawer), failed)


def _sign_in_page(drawer: PageDrawer, request: Request, status: int, message: str, goal: str) -> Response:
    if request.url.path.startswith("/api/"):
        return error_answer(status, "not_signed_in", message or "send the page's token: Authorization: Bearer TOKEN")
    return drawer.sign_in(status, message, goal or own_address(request))
