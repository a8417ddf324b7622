"""A collection that is followed: when it is listed, when watched again, when asked again and when it is over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from tests.operator.sources.fake_api import FakeApi
from tests.operator.timeline import Timeline

from limpet_operator.sources.following import Following, Raw
from limpet_operator.sources.kube_error import ApiError

PATH = "/apis/networking.istio.io/v1/virtualservices"


def _object(name: str, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "apps", "resourceVersion": version}}


def _listing(version: str, *names: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "items": [_object(name) for name in names]}


class Notebook:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.bugs: list[Exception] = []

    def listed(self, items: Sequence[Raw]) -> None:
        self.heard.append("all: " + " ".join(each["metadata"]["name"] for each in items))

    def came(self, raw: Raw) -> None:
        if self.bugs:
            raise self.bugs.pop()
        self.heard.append(f"came: {raw['metadata']['name']}")

    def went(self, raw: Raw) -> None:
        self.heard.append(f"went: {raw['metadata']['name']}")

    def refused(self, error: ApiError) -> None:
        self.heard.append(f"refused: {error}")


@asynccontextmanager
async def following(api: Any, book: Notebook) -> AsyncIterator[tuple[Timeline, "asyncio.Task[None]"]]:
    time = Timeline()
    task = asyncio.create_task(Following(api, PATH, "", book, Random(7), sleep=time.sleep).run())
    try:
        yield time, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_watch_that_ends_goes_on_from_its_last_version_and_one_that_is_too_old_from_a_listing() -> None:
    api, book = FakeApi(**{PATH: _listing("10", "a")}), Notebook()
    async with following(api, book) as (time, _):
        await time.until(lambda: len(api.watches) == 1)
        for event in (
            {"type": "ADDED", "object": _object("b", "11")},
            {"type": "BOOKMARK", "object": _object("b", "12")},
            {"type": "DELETED", "object": _object("a", "13")},
            None,
        ):
            api.watches[0][2].put_nowait(event)
        await time.until(lambda: len(api.watches) == 2)
        assert api.watches[1][1] == {"resourceVersion": "13"}
        assert book.heard == ["all: a", "came: b", "went: a"]
        api.answers[PATH] = _listing("20", "b", "c")
        api.watches[1][2].put_nowait({"type": "ERROR", "object": {"code": 410}})
        await time.until(lambda: len(api.watches) == 3)
        assert api.watches[2][1] == {"resourceVersion": "20"}
        assert book.heard[3:] == ["all: b c"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_right_that_is_missing_is_told_once_and_asked_for_again(status: int) -> None:
    api, book = FakeApi(**{PATH: ApiError(status, "no")}), Notebook()
    async with following(api, book) as (time, _):
        await time.until(lambda: len(api.asked) == 8)
        assert book.heard == ["refused: no"]
        api.answers[PATH] = _listing("10", "a")
        await time.until(lambda: book.heard[1:] == ["all: a"])


async def test_two_refusals_of_a_server_that_has_just_started_are_not_told() -> None:
    api, book = FakeApi(**{PATH: ApiError(403, "no")}), Notebook()
    async with following(api, book) as (time, _):
        await time.until(lambda: len(api.asked) == 2)
        api.answers[PATH] = _listing("10")
        await time.until(lambda: bool(api.watches))
        assert book.heard == ["all: "]


async def test_it_is_over_when_there_is_no_such_kind() -> None:
    api, book = FakeApi(**{PATH: _listing("10", "a")}), Notebook()
    async with following(api, book) as (time, task):
        await time.until(lambda: bool(api.watches))
        api.watches[0][2].put_nowait(ApiError(404, "no such kind"))
        await time.until(task.done)
        assert task.exception() is None


async def test_what_cannot_be_taken_in_is_logged_and_read_again(caplog: pytest.LogCaptureFixture) -> None:
    api, book = FakeApi(**{PATH: _listing("10", "a")}), Notebook()
    async with following(api, book) as (time, _):
        await time.until(lambda: bool(api.watches))
        book.bugs.append(KeyError("spec"))
        api.watches[0][2].put_nowait({"type": "ADDED", "object": _object("b", "11")})
        await time.until(lambda: len(api.watches) == 2)
        assert book.heard == ["all: a", "all: a"]
    assert [(each.levelname, each.exc_info is not None) for each in caplog.records] == [("ERROR", True)]
