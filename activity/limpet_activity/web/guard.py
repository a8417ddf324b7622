"""What stands before every page: host names, methods, who is signed in, and the headers of every answer."""

import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limpet_activity.web.own_address import own_path
from limpet_activity.web.settings import PageSettings
from limpet_activity.web.sign_in import COOKIE, WrongTokens, cookie_value, is_signed_in, is_token

_log = logging.getLogger(__name__)

SIGN_IN: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"
HEALTH: Final = "/healthz"
STATIC: Final = "/static/"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: browsers would leave the origin out of our own forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_MOST_FORM_BYTES: Final = 4096

SignInPage = Callable[[Request, int, str, str], Response]
"""Draws the form, with a status, what went wrong (empty: nothing) and where to go on (empty: to this address)."""


class Guard:
    """Lets through to the pages what may see them."""

    def __init__(
        self,
        app: ASGIApp,
        settings: PageSettings,
        now: Callable[[], float],
        draw: SignInPage,
        failed: Callable[[Request], Response],
    ) -> None:
        self._app: Final = app
        self._settings: Final = settings
        self._now: Final = now
        self._draw: Final = draw
        self._failed: Final = failed
        self._wrong: Final = WrongTokens()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                message["headers"] = headers.raw
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        request = Request(scope, receive)
        try:
            answer = await self._own_answer(request)
        except Exception:
            # Nothing of the request is logged: it may hold the token.
            _log.exception("the page failed before it was asked; please report this")
            answer = self._failed(request)
        await (answer or self._app)(scope, receive, with_headers)

    async def _own_answer(self, request: Request) -> Response | None:
        path = request.url.path
        if not self._is_own_host(request):
            return PlainTextResponse("This page is not served under that name: use localhost.\n", 421)
        if path in (SIGN_IN, SIGN_OUT) and request.method == "POST":
            return await self._change(request, path)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("This page is for reading: GET only.\n", 405, {"allow": "GET, HEAD"})
        if path == HEALTH or path.startswith(STATIC):
            return None
        if "token" in request.query_params and not path.startswith("/api/"):
            return self._exchange(request)
        if not self._may_see(request):
            if "authorization" not in request.headers:
                return self._draw(request, 401, "", "")
            return self._wrong_token(request, "", "")
        if path in (SIGN_IN, SIGN_OUT):
            return RedirectResponse("/", 303)
        return None

    def _is_own_host(self, request: Request) -> bool:
        allowed = self._settings.allowed_hosts
        if not allowed:
            return True
        host = request.headers.get("host", "")
        try:
            return "@" not in host and (urlsplit("//" + host).hostname or "") in allowed
        except ValueError:
            return False

    def _may_see(self, request: Request) -> bool:
        settings = self._settings
        if settings.trusted_user_header and request.headers.get(settings.trusted_user_header):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and is_token(given.strip(), settings.token):
            return True
        return is_signed_in(request.cookies.get(COOKIE, ""), settings.token, self._now())

    def _wrong_token(self, request: Request, message: str, goal: str) -> Response:
        # Who sends many is told to wait. A right one is let in even then: others at the same address, or a web site
        # through a browser, could keep its owner out, and nobody guesses one of 16 characters or more.
        address, now_s = _address(request), self._now()
        wait_s = self._wrong.wait_s(address, now_s)
        if not wait_s:
            self._wrong.count(address, now_s)
            return self._draw(request, 401, message, goal)
        seconds = int(wait_s) + 1
        answer = self._draw(request, 429, f"Too many wrong tokens. Try again in {seconds} seconds.", goal)
        answer.headers["retry-after"] = str(seconds)
        return answer

    def _exchange(self, request: Request) -> Response:
        """A link holds the token once; then the cookie does."""
        query = parse_qsl(request.url.query, keep_blank_values=True)
        clean = urlencode([(name, value) for name, value in query if name != "token"])
        goal = own_path(request) + (f"?{clean}" if clean else "")
        return self._sign_in(request, request.query_params["token"], goal)

    async def _change(self, request: Request, path: str) -> Response:
        if not _is_same_origin(request):
            return PlainTextResponse("Only this page's own form may do that.\n", 403)
        if path == SIGN_OUT:
            answer = RedirectResponse(SIGN_IN, 303)
            answer.delete_cookie(COOKIE)
            return answer
        body = b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MOST_FORM_BYTES:
                    return self._draw(request, 413, "That is too long for a token.", "/")
        except ClientDisconnect:
            return Response(status_code=400)
        form = parse_qs(body.decode("utf-8", "replace"))
        return self._sign_in(request, form.get("token", [""])[0].strip(), form.get("next", ["/"])[0])

    def _sign_in(self, request: Request, given: str, goal: str) -> Response:
        if not is_token(given, self._settings.token):
            return self._wrong_token(request, "That is not the token." if given else "Enter the token.", goal)
        answer = RedirectResponse(after_sign_in(goal), 303)
        lifetime_s = self._settings.signed_in_for_s
        answer.set_cookie(
            COOKIE,
            cookie_value(self._settings.token, self._now() + lifetime_s),
            max_age=int(lifetime_s),
            secure=_is_https(request),
            httponly=True,
            samesite="strict",
        )
        return answer


def after_sign_in(goal: str) -> str:
    """Where to go after signing in: a path of this page, whatever the form says."""
    plain = goal.startswith("/") and not goal.startswith(("//", "/\\")) and goal.isprintable()
    return goal if plain and not goal.startswith((SIGN_IN, SIGN_OUT)) else "/"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _is_https(request: Request) -> bool:
    said = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return request.url.scheme == "https" or said == "https"


def _is_same_origin(request: Request) -> bool:
    """Whether the form is one of this page: browsers say so, and where the request comes from."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(request.headers.get("origin", ""))
    except ValueError:
        return False
    return bool(origin.netloc) and origin.netloc == request.headers.get("host", "")
