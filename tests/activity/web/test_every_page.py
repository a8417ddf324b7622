"""What holds for every page: no code of its own, one word for one thing, and a sentence where nothing is."""

import re

import pytest
from tests.activity.store.answers import one
from tests.activity.web.people import AwayStore, anonymous, bearer, signed_in
from tests.activity.web.texts import text_of, with_records

from limpet_activity.store.in_memory import InMemoryStore

PAGES = ("/", "/activity", "/activity/r3", "/activity/rows", "/conversations/c0ffee01", "/providers")


@pytest.mark.parametrize("path", PAGES)
def test_pages_hold_no_code_of_their_own(path: str) -> None:
    html = signed_in().get(path).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert all('src="/static/' in script for script in re.findall(r"<script[^>]*>", html))


@pytest.mark.parametrize("name", ["page.css", "page.js", "theme.js", "limpet.svg"])
def test_what_pages_need_is_in_the_package(name: str) -> None:
    assert anonymous().get(f"/static/{name}").status_code == 200


@pytest.mark.parametrize("path", ["/", "/activity", "/providers"])
def test_nothing_has_come_yet(path: str) -> None:
    assert "No " in text_of(signed_in(InMemoryStore()), path)


def test_who_answered_nothing_is_called_alike_everywhere() -> None:
    store = with_records(one(1, 0, reason="answered.models"), one(2, 1, reason="refused.origin", conversation="c0"))
    for path in ("/?range=1h", "/activity", "/conversations/c0"):
        text = text_of(signed_in(store), path)
        assert "no provider" in text
        assert "nobody" not in text.replace("refused.nobody_left", "")


@pytest.mark.parametrize("path", ["/?range=1h", "/providers?range=1h"])
def test_savings_say_by_what(path: str) -> None:
    assert "paid saved by staying" in re.sub(r"\$[\d.]+ ", "", text_of(signed_in(), path))


@pytest.mark.parametrize("path", ["/activity/nothing", "/conversations/00", "/nothing", "/static/nothing.js"])
def test_what_is_not_there_is_a_page_that_says_so(path: str) -> None:
    answer = signed_in().get(path)
    assert answer.status_code == 404
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/activity", "/activity/r1", "/activity/rows", "/conversations/c0", "/providers"]
)
def test_a_store_that_does_not_answer(path: str) -> None:
    text = text_of(signed_in(AwayStore()), path, 503)
    assert "The store does not answer" in text
    assert "the database is away" in text


@pytest.mark.parametrize(
    "path", ["activity", "activity?after=1", "records/r1", "conversations/c0", "overview", "providers", "state"]
)
def test_programs_are_told_too(path: str) -> None:
    answer = bearer(AwayStore()).get(f"/api/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_away")


def test_signing_in_needs_no_store() -> None:
    assert anonymous(store=AwayStore()).get("/").status_code == 401
