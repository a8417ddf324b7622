"""Secrets and ConfigMaps by name: what is requested, what is delivered, and what happens when a watch ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from tests.operator.sources.fake_api import FakeApi
from tests.operator.timeline import Timeline, settled

from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.referenced import ReadResult, ReferencedObjects

KEY = ObjectKey("Secret", "ai", "deepseek")
PATH = "/api/v1/namespaces/ai/secrets"


def listed(version: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "items": list(items) or None}


def secret(version: str, value: str = "c2s=") -> dict[str, Any]:
    return {"metadata": {"name": "deepseek", "namespace": "ai", "resourceVersion": version}, "data": {"key": value}}


class Delivered:
    """What was delivered, and the time, which passes while the test waits for something."""

    def __init__(self) -> None:
        self.time = Timeline()
        self.until = self.time.until
        self.results: list[tuple[ObjectKey, ReadResult]] = []
        self.recoveries = 0

    def deliver(self, key: ObjectKey, result: ReadResult) -> None:
        self.results.append((key, result))

    def recovered(self) -> None:
        self.recoveries += 1


@asynccontextmanager
async def following(api: Any, *keys: ObjectKey) -> AsyncIterator[tuple[ReferencedObjects, Delivered]]:
    delivered = Delivered()
    time = delivered.time
    referenced = ReferencedObjects(
        api, delivered.deliver, delivered.recovered, Random(7), clock=time.clock, sleep=time.sleep
    )
    try:
        referenced.follow_only(frozenset(keys))
        yield referenced, delivered
    finally:
        await referenced.close()


async def test_a_secret_is_read_and_then_watched_by_its_name_alone() -> None:
    api = FakeApi(**{PATH: listed("10", secret("5"))})
    async with following(api, KEY) as (referenced, delivered):
        assert referenced.unknown == {KEY}
        await delivered.until(lambda: bool(api.watches))
        assert referenced.unknown == frozenset()
        path, query, events = api.watches[-1]
        assert api.asked == [(PATH, {"fieldSelector": "metadata.name=deepseek"})]
        assert (path, query) == (PATH, {"fieldSelector": "metadata.name=deepseek", "resourceVersion": "10"})
        events.put_nowait({"type": "MODIFIED", "object": secret("11", "bmV3")})
        events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "15"}}})
        events.put_nowait({"type": "DELETED", "object": secret("16")})
        events.put_nowait(None)
        await delivered.until(lambda: len(api.watches) == 2)
        assert api.watches[-1][1]["resourceVersion"] == "16"
        values = [None if result is None else result["data"]["key"] for _, result in delivered.results]
        assert values == ["c2s=", "bmV3", None]
        assert delivered.results[0][1]["kind"] == "Secret"


async def test_one_that_is_not_there_is_known_to_be_absent_and_noticed_when_it_comes() -> None:
    api = FakeApi(**{PATH: listed("10")})
    async with following(api, KEY) as (referenced, delivered):
        await delivered.until(lambda: bool(api.watches))
        assert (delivered.results, referenced.unknown) == ([(KEY, None)], frozenset())
        api.watches[-1][2].put_nowait({"type": "ADDED", "object": secret("11")})
        await delivered.until(lambda: len(delivered.results) == 2)


@pytest.mark.parametrize(
    "end",
    [
        {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}},
        ApiError(410, "too old resource version"),
        ApiError(None, "the connection broke off"),
        ApiError(500, "etcd has no leader"),
    ],
)
async def test_after_a_watch_that_broke_off_it_is_read_again(end: Any) -> None:
    api = FakeApi(**{PATH: listed("10", secret("5"))})
    async with following(api, KEY) as (_, delivered):
        await delivered.until(lambda: bool(api.watches))
        api.answers[PATH] = listed("90", secret("80", "bmV3"))
        api.watches[-1][2].put_nowait(end)
        await delivered.until(lambda: len(api.watches) == 2)
        assert api.watches[-1][1]["resourceVersion"] == "90"
        assert delivered.results[-1][1]["data"]["key"] == "bmV3"
        assert delivered.recoveries == isinstance(end, ApiError)


async def test_while_the_api_is_away_nothing_is_concluded() -> None:
    api = FakeApi(**{PATH: ApiError(None, "away")})
    async with following(api, KEY) as (referenced, delivered):
        await delivered.until(lambda: len(api.asked) >= 3)
        assert (list(delivered.results), set(referenced.unknown)) == ([], {KEY})
        api.answers[PATH] = listed("10", secret("5"))
        await delivered.until(lambda: bool(delivered.results))
        assert delivered.recoveries == 1


async def test_one_that_may_not_be_read_says_which_right_is_missing() -> None:
    api = FakeApi(**{PATH: ApiError(403, "secrets is forbidden")})
    async with following(api, KEY) as (referenced, delivered):
        await delivered.until(lambda: bool(delivered.results))
        assert referenced.unknown == frozenset()
        ((_, result),) = delivered.results
        assert isinstance(result, Invalid)
        assert result.message == (
            "Limpet may not read it: grant get, list and watch on secrets in namespace ai (secrets is forbidden)"
        )


async def test_a_refusal_or_two_are_an_api_server_that_is_just_starting() -> None:
    api = FakeApi(**{PATH: ApiError(403, "secrets is forbidden")})
    async with following(api, KEY) as (_, delivered):
        await delivered.until(lambda: len(api.asked) == 2)
        api.answers[PATH] = listed("10", secret("5"))
        await delivered.until(lambda: bool(delivered.results))
        assert delivered.results[0][1] == {**secret("5"), "apiVersion": "v1", "kind": "Secret"}


async def test_what_was_read_stays_in_force_when_it_may_not_be_read_any_more(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi(**{PATH: listed("10", secret("5"))})
    async with following(api, KEY) as (_, delivered):
        await delivered.until(lambda: bool(api.watches))
        api.answers[PATH] = ApiError(403, "secrets is forbidden")
        api.watches[-1][2].put_nowait(ApiError(None, "the connection broke off"))
        await delivered.until(lambda: "what was read before stays in force" in caplog.text)
        assert len(delivered.results) == 1


class Unwatchable(FakeApi):
    """May be read and not watched."""

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Any]:
        self.watches.append((path, query, asyncio.Queue()))
        raise ApiError(403, "secrets is forbidden: cannot watch")
        yield


async def test_a_right_to_watch_that_is_missing_is_named_and_not_asked_for_all_the_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Unwatchable(**{PATH: listed("10", secret("5"))})
    async with following(api, KEY) as (_, delivered):
        await delivered.until(lambda: "cannot watch" in caplog.text)
        assert "grant get, list and watch on secrets in namespace ai" in caplog.text
        assert delivered.results[-1] == (KEY, {**secret("5"), "apiVersion": "v1", "kind": "Secret"})
        assert len(api.watches) == 3


async def test_an_answer_that_nobody_understands_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi(**{PATH: {"items": None}})
    async with following(api, KEY) as (_, delivered):
        await delivered.until(lambda: "this is a bug in Limpet" in caplog.text)
        api.answers[PATH] = listed("10", secret("5"))
        await delivered.until(lambda: bool(delivered.results) and delivered.results[-1][1] is not None)


async def test_what_nobody_names_any_more_is_not_followed_and_to_be_forgotten() -> None:
    other = ObjectKey("ConfigMap", "ai", "corp-ca")
    api = FakeApi(**{PATH: listed("10", secret("5")), "/api/v1/namespaces/ai/configmaps": listed("10")})
    async with following(api, KEY) as (referenced, delivered):
        await delivered.until(lambda: bool(api.watches))
        assert referenced.follow_only(frozenset({other})) == {KEY}
        assert referenced.unknown == {other}
        await delivered.until(lambda: len(api.watches) == 2)
        api.watches[0][2].put_nowait({"type": "MODIFIED", "object": secret("11")})
        await settled()
        assert [key for key, _ in delivered.results] == [KEY, other]
        assert referenced.follow_only(frozenset({KEY})) == {other}
        assert referenced.unknown == {KEY}, "what it was before is not what it is now"


class Counting(FakeApi):
    """Counts how many reads are under way at the same time."""

    reading = most = 0

    async def get(self, *arguments: Any, **more: Any) -> Any:
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(0)
        try:
            return await super().get(*arguments, **more)
        finally:
            self.reading -= 1


async def test_many_are_read_a_few_at_a_time() -> None:
    keys = [ObjectKey("Secret", "ai", f"s{number}") for number in range(100)]
    api = Counting(**{PATH: listed("10")})
    async with following(api, *keys) as (referenced, delivered):
        await delivered.until(lambda: not referenced.unknown)
    assert api.most == 16
