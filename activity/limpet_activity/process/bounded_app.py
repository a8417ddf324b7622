"""An ASGI application that answers so many requests at once, and one that is cut off with a sentence."""

import asyncio
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BoundedApp:
    """Stands between the server and the application; headers of its answers are the application's own affair."""

    def __init__(self, app: ASGIApp, most: int, headers: dict[str, str]) -> None:
        """`headers`: of the answers that are given here."""
        self._app: Final = app
        self._most: Final = most
        self._headers: Final = headers
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self._running >= self._most:
            await self._refusal("Too many requests at once; try again.")(scope, receive, send)
            return
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        self._running += 1
        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            # The server stops, and has waited for this answer long enough. An answer that has begun is broken off.
            if not has_begun:
                await self._refusal("The service is stopping; try again.")(scope, receive, send)
        finally:
            self._running -= 1

    def _refusal(self, text: str) -> PlainTextResponse:
        return PlainTextResponse(f"{text}\n", 503, {**self._headers, "connection": "close", "retry-after": "1"})
