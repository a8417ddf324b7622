"""When objects may be planned, and how watches that lose something or die are detected."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, cast

import pytest
from tests.operator.conftest import Build
from tests.operator.sources.fake_api import FakeApi
from tests.operator.timeline import Timeline

from limpet_operator.resources.problem import PLURALS, ObjectKey
from limpet_operator.sources.cluster import UNHEALTHY_S, ClusterCallbacks, ClusterSource, WatchIntervals, Where
from limpet_operator.sources.kopf_watch import WatchEndedError, WatchEvent
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import Access, KubeReader

DISCOVERY = "/apis/limpet.dev/v1alpha1"
SECRETS = "/api/v1/namespaces/default/secrets"
UNDER_WAY = "the first listing is under way"


def listed(version: int, **objects: int) -> dict[str, Any]:
    """A listing's answer: name -> resource version."""
    items = [
        {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(each)}}
        for name, each in objects.items()
    ]
    return {"metadata": {"resourceVersion": str(version)}, "items": items}


class World:
    """A cluster that the test plays: what the API answers, what the watch delivers, and the time."""

    def __init__(self, build: Build, *namespaces: str, intervals: WatchIntervals | None = None) -> None:
        self.time = Timeline()
        self.watched: list[Sequence[str]] = []
        self.unreadable: list[set[str]] = []
        self.build = build
        self.api = FakeApi()
        self.api.answers[DISCOVERY] = {"resources": [{"kind": kind} for kind in PLURALS]}
        self.lists()
        self.api.answers[SECRETS] = {"metadata": {"resourceVersion": "1"}, "items": None}
        self.deliver: Callable[[WatchEvent], None] | None = None
        self.watches = 0
        self.ended: asyncio.Future[None] | None = None
        self.called: list[str] = []
        self.source = ClusterSource(
            Where(Access(), namespaces), cast("KubeReader", self.api), build.parser, (),
            ClusterCallbacks(self.callback("plan"), self.callback("status"), self.unreadable_changed),
            Random(1), intervals, self.watch, clock=self.time.clock, sleep=self.time.sleep,
        )  # fmt: skip

    def unreadable_changed(self, reasons: Mapping[str, str]) -> None:
        self.unreadable.append(set(reasons))

    def callback(self, what: str) -> Callable[[], None]:
        return lambda: self.called.append(what)

    def lists_in(self, namespace: str, answer: Any) -> None:
        for plural in PLURALS.values():
            here = answer if plural == "providers" or isinstance(answer, ApiError) else listed(1)
            self.api.answers[f"{DISCOVERY}/namespaces/{namespace}/{plural}"] = here

    def lists(self, version: int = 1, **providers: int) -> None:
        for kind, plural in PLURALS.items():
            self.api.answers[f"{DISCOVERY}/{plural}"] = listed(version, **(providers if kind == "Provider" else {}))

    async def watch(self, _: Access, namespaces: Sequence[str], deliver: Callable[[WatchEvent], None]) -> None:
        self.watches += 1
        self.watched.append(namespaces)
        self.deliver = deliver
        self.ended = asyncio.get_running_loop().create_future()
        await self.ended

    def delivers(
        self, name: str, version: int, *, deleted: bool = False, listed: bool = False, status: Any = None, **spec: Any
    ) -> None:
        raw = self.build.raw("Provider", name, **{"credential": None, **spec})
        generation = version if status is None else 1
        raw["metadata"] |= {"uid": name, "resourceVersion": str(version), "generation": generation}
        raw |= {"status": status} if status else {}
        assert self.deliver is not None
        self.deliver(WatchEvent("Provider", raw, deleted, listed))

    def names(self) -> set[str] | None:
        objects = self.source.take_objects()
        return None if objects is None else {key.name for key in objects.parsed if key.kind == "Provider"}


@asynccontextmanager
async def reading(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.source.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def running(build: Build, **providers: int) -> AsyncIterator[World]:
    world = World(build)
    world.lists(**providers)
    async with reading(world):
        await world.time.until(
            lambda: world.watches == 1 and world.source.problem is None and world.source.not_synced != UNDER_WAY
        )
        yield world


async def test_an_empty_cluster_is_known_at_once(build: Build) -> None:
    async with running(build) as world:
        assert world.source.not_synced is None
        assert world.names() == set()


async def test_nothing_is_planned_before_all_of_the_first_listing_has_come(build: Build) -> None:
    async with running(build, a=1, b=1) as world:
        assert world.source.not_synced == "2 objects of the first listing have not been received yet"
        world.delivers("a", 1, listed=True)
        world.delivers("new", 2)
        assert world.names() is None
        world.delivers("b", 2, deleted=True)  # deleted before it was received: nothing to wait for
        assert world.source.not_synced is None
        assert world.names() == {"a", "new"}


async def test_nor_before_the_secrets_that_are_named_have_been_looked_at(build: Build) -> None:
    async with running(build, a=1) as world:
        world.api.answers[SECRETS] = ApiError(None, "away")
        world.delivers("a", 1, credential={"secretRef": {"name": "s", "key": "k"}})
        assert world.names() is None
        assert world.source.not_synced == "1 Secrets or ConfigMaps have not been read yet"
        world.api.answers[SECRETS] = {"metadata": {"resourceVersion": "1"}, "items": None}
        await world.time.until(lambda: world.source.not_synced is None)
        assert world.names() == {"a"}
        # From now on each waits for itself alone.
        world.api.answers[SECRETS] = ApiError(None, "away")
        world.delivers("b", 2, credential={"secretRef": {"name": "t", "key": "k"}})
        world.delivers("c", 3)
        assert world.names() == {"a", "c"}


async def test_a_new_provider_is_news_when_its_secret_was_read_and_at_once_when_that_is_known(build: Build) -> None:
    async with running(build) as world:
        assert world.names() == set()
        world.called.clear()
        world.delivers("a", 2, credential={"secretRef": {"name": "s", "key": "k"}})
        assert world.called == []
        await world.time.until(lambda: bool(world.called))
        assert (world.called, world.names()) == (["plan"], {"a"})
        world.delivers("b", 3, credential={"secretRef": {"name": "s", "key": "k"}})
        assert (world.called, world.names()) == (["plan", "plan"], {"a", "b"})


async def test_what_is_deleted_between_our_listing_and_the_watchs_is_not_waited_for(build: Build) -> None:
    async with running(build, a=1, b=1) as world:
        world.delivers("a", 1)
        assert world.names() is None
        assert world.source.not_synced == "1 objects of the first listing have not been received yet"
        world.called.clear()
        world.lists(2, a=1)
        await world.time.until(lambda: world.source.not_synced is None)
        assert world.names() == {"a"}
        assert "plan" in world.called


async def test_statuses_that_come_back_are_no_reason_to_plan(build: Build) -> None:
    async with running(build, a=1) as world:
        world.delivers("a", 1)
        world.called.clear()
        world.delivers("a", 2, status={"conditions": []})
        world.delivers("a", 2, status={"conditions": []})
        assert world.called == ["status"]
        world.delivers("a", 3, weight=7)
        assert world.called == ["status", "plan"]


async def test_a_deletion_that_no_watch_told_of_is_found_by_the_next_listing(build: Build) -> None:
    async with running(build, a=1, b=1) as world:
        world.delivers("a", 1)
        world.delivers("b", 1)
        world.lists(9, b=1)
        await world.time.until(lambda: world.names() == {"b"})
        assert world.watches == 1


async def test_a_watch_that_has_died_silently_is_restarted(build: Build) -> None:
    async with running(build, a=1) as world:
        world.delivers("a", 1)
        world.lists(9, a=8)
        await world.time.until(lambda: world.watches == 2)
        assert world.source.stuck() is None
        await world.time.advance(UNHEALTHY_S)
        assert "of changes to 1 objects" in str(world.source.stuck())
        world.delivers("a", 8)
        watches = world.watches
        await world.time.advance(2 * UNHEALTHY_S)
        assert world.watches == watches
        assert world.source.stuck() is None


async def test_a_watch_that_is_slow_is_left_alone(build: Build) -> None:
    async with running(build, a=1, b=1, c=1) as world:
        for version in range(2, 30):
            world.delivers("a", version)
            world.lists(99, a=version, b=1, c=1)
            await world.time.advance(10)
        assert world.watches == 1
        assert world.source.not_synced == "2 objects of the first listing have not been received yet"
        await world.time.until(lambda: world.watches == 2)  # silent at last


async def test_a_watch_that_ends_is_started_anew_and_what_was_known_stays(build: Build) -> None:
    async with running(build, a=1) as world:
        world.delivers("a", 1)
        assert world.ended is not None
        world.ended.set_exception(WatchEndedError("an error of the stream"))
        await world.time.until(lambda: world.watches == 2)
        assert world.names() == {"a"}


@pytest.mark.parametrize("error", [ApiError(None, "away"), ApiError(500, "etcd"), ApiError(403, "forbidden")])
async def test_an_api_that_refuses_or_is_away_takes_nothing_away_and_is_no_reason_to_start_anew(
    build: Build, error: ApiError
) -> None:
    async with running(build, a=1) as world:
        world.delivers("a", 1)
        world.lists(9, a=8)
        await world.time.advance(20)
        world.api.answers[f"{DISCOVERY}/providers"] = error
        await world.time.until(lambda: world.source.problem == str(error))
        await world.time.advance(2 * UNHEALTHY_S)
        assert (world.names(), world.source.not_synced) == ({"a"}, None)
        assert world.source.stuck() is None


async def test_a_kind_that_is_gone_is_waited_for(build: Build) -> None:
    async with running(build, a=1) as world:
        world.delivers("a", 1)
        world.api.answers[f"{DISCOVERY}/providers"] = ApiError(404, "no such kind")
        await world.time.until(lambda: world.watches == 2)
        world.lists(9)
        await world.time.until(lambda: world.names() == set())


async def test_what_a_new_listing_of_kopf_finds_calls_for_a_comparison_of_our_own(build: Build) -> None:
    world = World(build, intervals=WatchIntervals(compare_s=100_000.0))
    world.lists(a=1, b=1)
    async with reading(world):
        await world.time.until(lambda: world.watches == 1 and world.source.problem is None)
        world.delivers("a", 1, listed=True)
        world.delivers("b", 1, listed=True)
        world.lists(9, a=1)
        world.delivers("a", 1, listed=True)
        await world.time.until(lambda: world.names() == {"a"})
        assert world.source.store.stored(ObjectKey("Provider", "default", "b")) is None


FORBIDDEN = ApiError(403, "providers.limpet.dev is forbidden: cannot list")


async def test_a_namespace_that_may_not_be_read_keeps_no_other_out(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(build, "default", "team-b")
    world.lists_in("default", listed(1, a=1))
    world.lists_in("team-b", FORBIDDEN)
    async with reading(world):
        await world.time.until(lambda: world.watches == 1)
        world.delivers("a", 1)
        await world.time.until(lambda: world.names() == {"a"})
        assert (world.watched, world.unreadable[-1]) == ([["default"]], {"team-b"})
        assert world.source.problem is None
        assert world.source.unreadable == {"team-b": str(FORBIDDEN)}
        logged = [record.getMessage() for record in caplog.records if "team-b" in record.getMessage()]
        assert len(logged) == 1, "logged once, however often it is tried again"
        assert str(FORBIDDEN) in logged[0]
        world.lists_in("team-b", listed(1))
        await world.time.until(lambda: world.watches == 2)
        assert (world.watched[-1], world.unreadable[-1], world.names()) == (["default", "team-b"], set(), {"a"})


async def test_a_namespace_whose_rights_come_a_moment_late_is_waited_for(build: Build) -> None:
    world = World(build, "default", "team-b")
    world.lists_in("default", listed(1))
    world.lists_in("team-b", FORBIDDEN)
    async with reading(world):
        await world.time.advance(3)
        assert world.watches == 0
        world.lists_in("team-b", listed(1))
        await world.time.until(lambda: world.watches == 1)
        assert world.watched == [["default", "team-b"]]


async def test_what_is_known_of_a_namespace_stays_when_its_rights_are_lost(build: Build) -> None:
    world = World(build, "team-b", "default")
    world.lists_in("default", listed(1, a=1))
    world.lists_in("team-b", listed(1))
    async with reading(world):
        await world.time.until(lambda: world.watches == 1)
        world.delivers("a", 1)
        await world.time.until(lambda: world.names() == {"a"})
        world.lists_in("default", FORBIDDEN)
        await world.time.until(lambda: world.watches == 2)
        assert (world.watched[-1], world.names()) == (["team-b"], {"a"})


async def test_where_no_namespace_may_be_read_nothing_is_concluded(build: Build) -> None:
    world = World(build, "default", "team-b")
    for namespace in ("default", "team-b"):
        world.lists_in(namespace, FORBIDDEN)
    async with reading(world):
        await world.time.until(lambda: world.source.not_synced == str(FORBIDDEN))
        await world.time.advance(600)
        assert (world.watches, world.names()) == (0, None)
