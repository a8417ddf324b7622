"""A real Chromium before a page that is served on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tests.activity.web.people import TOKEN, Clock
from tests.activity.web.sample import batches, day
from tests.activity.web.serving import on_loopback

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.web.app import web_app
from limpet_activity.web.settings import LOOPBACK_HOSTS, PageSettings
from limpet_activity.web.sign_in import COOKIE, cookie_value

NOW_S: Final = 1_796_072_400.0
"""An evening in UTC, for which the sample is a day of traffic."""

_QUIET: Final = (
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """With a user data directory of its own, which is deleted."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(_QUIET))
        yield browser
        browser.close()


class ServedPage:
    """A page with a day of traffic, and where it is."""

    def __init__(self, address: str, store: InMemoryStore) -> None:
        self.address: Final = address
        self.store: Final = store


@contextmanager
def served(conversations: int) -> Iterator[ServedPage]:
    """The page on a free port of loopback, until the end of the block."""
    store = InMemoryStore()
    for batch in batches(day(NOW_S, conversations), NOW_S):
        store.take([batch], NOW_S)
    app = web_app(store, PageSettings(TOKEN, LOOPBACK_HOSTS), Clock(NOW_S))
    with on_loopback(app) as address:
        yield ServedPage(address, store)


class Visitor:
    """A person before the page, and all that went wrong there."""

    def __init__(self, context: BrowserContext, site: ServedPage) -> None:
        self.page: Final[Page] = context.new_page()
        self.site: Final = site
        self.complaints: Final[list[str]] = []
        """Errors of scripts and of the content security policy, and requests to other hosts."""
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        # The status of a page that is meant to have one is no complaint.
        if kind in ("error", "warning") and "status of 4" not in text:
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith(self.site.address):
            self.complaints.append(f"asked {url}")

    def goes_to(self, path: str) -> None:
        """Open a page of the site."""
        self.page.goto(self.site.address + path)


@contextmanager
def visiting(
    browser: Browser, site: ServedPage, *, signed_in: bool = True, width: int = 1280, height: int = 860, **more: object
) -> Iterator[Visitor]:
    """With a window of their own; at the end nothing may have gone wrong."""
    context = browser.new_context(viewport={"width": width, "height": height}, **more)  # type: ignore[arg-type]
    context.set_default_timeout(60_000)
    visitor = Visitor(context, site)
    if signed_in:
        context.add_cookies([{"name": COOKIE, "value": cookie_value(TOKEN, NOW_S + 86_400), "url": site.address}])
    yield visitor
    assert visitor.complaints == []
    context.close()
