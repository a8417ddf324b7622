"""Who looks at the page in tests: with the records of tests/activity/store/answers.py."""

from starlette.testclient import TestClient
from tests.activity.store.answers import T0, fill

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityStore, StoreError
from limpet_activity.web.app import web_app
from limpet_activity.web.settings import PageSettings
from limpet_activity.web.sign_in import COOKIE, cookie_value

TOKEN = "limpet-page-0123456789abcdef"


class Clock:
    """Stands still until it is moved."""

    def __init__(self, s: float) -> None:
        self.s = s

    def __call__(self) -> float:
        return self.s


def _client(store: ActivityStore | None, clock: Clock | None) -> TestClient:
    if store is None:
        store = InMemoryStore()
        fill(store)
    return TestClient(web_app(store, PageSettings(TOKEN), clock or Clock(T0 + 600)), "http://localhost")


def anonymous(clock: Clock | None = None, store: ActivityStore | None = None) -> TestClient:
    """Not signed in."""
    return _client(store, clock)


def bearer(store: ActivityStore | None = None, clock: Clock | None = None) -> TestClient:
    """A program that sends the token."""
    client = _client(store, clock)
    client.headers["authorization"] = f"Bearer {TOKEN}"
    return client


def signed_in(store: ActivityStore | None = None, clock: Clock | None = None) -> TestClient:
    """A person with a cookie."""
    client = _client(store, clock)
    client.cookies.set(COOKIE, cookie_value(TOKEN, T0 + 86_400))
    return client


class AwayStore(InMemoryStore):
    """A store whose database does not answer."""

    def __getattribute__(self, name: str) -> object:
        if name.startswith("_"):
            return super().__getattribute__(name)
        raise StoreError("the database is away: start it")
