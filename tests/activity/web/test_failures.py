"""What nobody expected still ends in a sentence, with the headers of a careful page."""

import pytest
from starlette.testclient import TestClient
from tests.activity.store.answers import T0
from tests.activity.web.people import TOKEN

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import SeenProvider, StoreState
from limpet_activity.web.app import web_app
from limpet_activity.web.settings import PageSettings
from limpet_activity.web.sign_in import COOKIE, cookie_value


class BrokenStore(InMemoryStore):
    """A store with a mistake in it."""

    def state(self) -> StoreState:
        raise RuntimeError("secret of the store")

    def providers(self) -> list[SeenProvider]:
        raise RuntimeError("secret of the store")


def no_clock() -> float:
    raise RuntimeError("no clock")


@pytest.mark.parametrize("path", ["/", "/api/state"])
@pytest.mark.parametrize("before", [True, False], ids=["before the page", "in the page"])
def test_a_mistake_is_a_page_or_json(path: str, before: bool) -> None:
    app = web_app(BrokenStore(), PageSettings(TOKEN), no_clock if before else lambda: T0)
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    client.cookies.set(COOKIE, cookie_value(TOKEN, T0 + 60))
    answer = client.get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    if path.startswith("/api/"):
        assert answer.json()["error"]["code"] == "failed"
    else:
        assert "report this" in answer.text
