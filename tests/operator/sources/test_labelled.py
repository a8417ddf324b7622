"""Secrets with the label: what is requested, what is delivered, and what stays while the API server is away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from tests.operator.sources.fake_api import FakeApi
from tests.operator.timeline import Timeline

from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.labelled import LabelledSecrets

PATH = "/api/v1/namespaces/limpet/secrets"
LABEL = "limpet.dev/client-keys"


def _secret(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "limpet", "resourceVersion": version, "labels": {LABEL: "true"}}}


def _listed(version: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "items": list(items)}


class Seen:
    """What was delivered."""

    def __init__(self) -> None:
        self.time = Timeline()
        self.until = self.time.until
        self.there: dict[str, str] = {}
        self.calls = 0

    def deliver(self, key: ObjectKey, raw: Mapping[str, Any] | None) -> None:
        self.calls += 1
        if raw is None:
            self.there.pop(key.name, None)
        else:
            assert (raw["kind"], raw["apiVersion"]) == ("Secret", "v1")
            self.there[key.name] = raw["metadata"]["resourceVersion"]


@asynccontextmanager
async def following(api: Any) -> AsyncIterator[tuple[LabelledSecrets, Seen]]:
    seen = Seen()
    labelled = LabelledSecrets(api, "limpet", seen.deliver, Random(7), sleep=seen.time.sleep)
    task = asyncio.create_task(labelled.run())
    try:
        yield labelled, seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_they_are_listed_and_watched_by_their_label() -> None:
    api = FakeApi(**{PATH: _listed("10", _secret("a", "5"), _secret("b", "6"))})
    async with following(api) as (labelled, seen):
        assert not labelled.known
        await seen.until(lambda: bool(api.watches))
        assert labelled.known
        assert seen.there == {"a": "5", "b": "6"}
        assert api.asked == [(PATH, {"labelSelector": LABEL})]
        path, query, events = api.watches[-1]
        assert (path, query) == (PATH, {"labelSelector": LABEL, "resourceVersion": "10"})
        events.put_nowait({"type": "MODIFIED", "object": _secret("a", "11")})
        events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}})
        events.put_nowait({"type": "DELETED", "object": _secret("b", "13")})
        await seen.until(lambda: seen.there == {"a": "11"})
        events.put_nowait(None)
        await seen.until(lambda: len(api.watches) == 2)
        assert api.watches[-1][1]["resourceVersion"] == "13"


async def test_what_was_read_stays_while_the_api_is_away_and_what_went_meanwhile_goes_then() -> None:
    api = FakeApi(**{PATH: _listed("10", _secret("a", "5"), _secret("b", "6"))})
    async with following(api) as (labelled, seen):
        await seen.until(lambda: bool(api.watches))
        api.answers[PATH] = ApiError(None, "away")
        api.watches[-1][2].put_nowait(ApiError(None, "away"))
        asked = len(api.asked)
        await seen.until(lambda: len(api.asked) > asked + 3)
        assert seen.there == {"a": "5", "b": "6"}
        api.answers[PATH] = _listed("20", _secret("a", "15"))
        await seen.until(lambda: seen.there == {"a": "15"})
        assert labelled.problem is None


async def test_without_the_right_the_rest_goes_on_and_it_is_said() -> None:
    api = FakeApi(**{PATH: ApiError(403, "forbidden")})
    async with following(api) as (labelled, seen):
        await seen.until(lambda: labelled.known)
        assert labelled.problem is not None
        assert "grant list and watch on secrets in namespace limpet" in labelled.problem
        assert seen.calls == 1, "a plan may have waited for it"
        api.answers[PATH] = _listed("20", _secret("a", "15"))
        await seen.until(lambda: seen.there == {"a": "15"})
        assert labelled.problem is None


async def test_that_there_are_none_is_news() -> None:
    api = FakeApi(**{PATH: _listed("10")})
    async with following(api) as (labelled, seen):
        await seen.until(lambda: bool(api.watches))
        assert (labelled.known, seen.calls, seen.there) == (True, 1, {})


async def test_an_answer_that_there_are_no_secrets_at_all_is_not_believed() -> None:
    api = FakeApi(**{PATH: _listed("10", _secret("a", "5"))})
    async with following(api) as (labelled, seen):
        await seen.until(lambda: bool(api.watches))
        api.answers[PATH] = _listed("20", _secret("a", "15"))
        api.watches[-1][2].put_nowait(ApiError(404, "not found"))
        await seen.until(lambda: seen.there == {"a": "15"})
        assert labelled.problem is None
