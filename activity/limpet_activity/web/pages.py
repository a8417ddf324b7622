"""The pages themselves: which address draws which template with what."""

from collections.abc import Callable
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from limpet_activity.store.port import ActivityStore
from limpet_activity.web.settings import PageSettings


class PageDrawer:
    """Draws pages."""

    def __init__(self, store: ActivityStore, settings: PageSettings, now: Callable[[], float]) -> None:
        self._store: Final = store
        self._settings: Final = settings
        self._now: Final = now
        self._templates: Final = Environment(
            loader=PackageLoader("limpet_activity.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def routes(self) -> list[BaseRoute]:
        """All pages."""
        return [
            Route("/", self._overview),
            Mount("/static", StaticFiles(packages=[("limpet_activity.web", "static")])),
        ]

    def sign_in(self, request: Request, status: int, message: str) -> Response:
        """The form."""
        goal = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return self._draw("sign_in.html", status, message=message, goal=goal)

    def trouble(self, request: Request, status: int, title: str, text: str) -> Response:
        """What went wrong."""
        return self._draw("trouble.html", status, title=title, text=text)

    def _draw(self, template: str, status: int = 200, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(values), status)

    async def _overview(self, request: Request) -> Response:
        return self._draw("trouble.html", title="Overview", text="")
