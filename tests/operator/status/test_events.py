"""Events: one for each piece of news, counted when it repeats, never more than a person can take, never in the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio
from prometheus_client import CollectorRegistry
from tests.operator.status.fake_api import FakeApi
from tests.operator.timeline import Timeline

from limpet_operator.planning.finding import Finding
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.events import EventWriter, Rate, Transition, event
from limpet_operator.status.lease import Lease
from limpet_operator.status.metrics import build_writer_metrics

KEY = ObjectKey("Provider", "ai", "deepseek")
NO_SECRET = Finding("ResolvedRefs", "False", "SecretNotFound", "there is no Secret deepseek; create it")
FOUND = Finding("ResolvedRefs", "True", "ResolvedRefs", "all that it refers to is there")
EVENTS = "/apis/events.k8s.io/v1/namespaces/ai/events"


class Harness:
    """A writer that holds the lease, over a fake API."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.time = Timeline()
        self.registry = CollectorRegistry()
        self.lease = Lease(
            self.api, "limpet", "lease", "pod-1", clock=self.time.clock, now=self.time.now, sleep=self.time.sleep
        )
        self.writer = EventWriter(
            self.api,
            self.lease,
            build_writer_metrics(self.registry),
            rate=Rate(every_s=0.1, waiting=5),
            now=self.time.now,
            sleep=self.time.sleep,
        )
        self.tasks = [asyncio.create_task(self.lease.run()), asyncio.create_task(self.writer.run())]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def record(self, finding: Finding, uid: str = "u1", *, bad: bool = True) -> None:
        self.writer.record(KEY, uid, finding, bad=bad)

    @property
    def events(self) -> list[Any]:
        return [each for path, each in self.api.objects.items() if path.startswith(EVENTS)]

    def count(self, outcome: str) -> float:
        return self.registry.get_sample_value("limpet_events_total", {"outcome": outcome}) or 0


@pytest_asyncio.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness()
    await harness.time.advance(0.1)
    yield harness
    await harness.close()


async def test_news_is_told_with_what_to_do(harness: Harness) -> None:
    harness.record(NO_SECRET)
    await harness.time.advance(1)
    (event,) = harness.events
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "SecretNotFound", "ResolvedRefs")
    assert event["note"] == "ResolvedRefs is False: there is no Secret deepseek; create it"
    assert event["regarding"] == {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "Provider",
        "namespace": "ai",
        "name": "deepseek",
        "uid": "u1",
    }
    assert event["reportingInstance"] == "pod-1"


async def test_the_same_news_again_counts_up_what_is_there(harness: Harness) -> None:
    for _ in range(3):
        harness.record(NO_SECRET)
        await harness.time.advance(1)
        harness.record(FOUND, bad=False)
        await harness.time.advance(1)
    assert sorted((each["reason"], each["series"]["count"]) for each in harness.events) == [
        ("ResolvedRefs", 3),
        ("SecretNotFound", 3),
    ]


async def test_another_replica_finds_the_event_of_the_last_one(harness: Harness) -> None:
    harness.record(NO_SECRET)
    await harness.time.advance(1)
    successor = EventWriter(
        harness.api,
        harness.lease,
        build_writer_metrics(CollectorRegistry()),
        now=harness.time.now,
        sleep=harness.time.sleep,
    )
    harness.tasks.append(asyncio.create_task(successor.run()))
    successor.record(KEY, "u1", NO_SECRET, bad=True)
    await harness.time.advance(1)
    assert [each["series"]["count"] for each in harness.events] == [2]


async def test_an_event_that_kubernetes_has_forgotten_is_told_anew(harness: Harness) -> None:
    harness.record(NO_SECRET)
    await harness.time.advance(1)
    del harness.api.objects[f"{EVENTS}/{harness.events[0]['metadata']['name']}"]
    harness.record(NO_SECRET)
    await harness.time.advance(1)
    assert [each.get("series") for each in harness.events] == [None]


async def test_too_much_is_dropped_and_the_rest_goes_out_bit_by_bit(harness: Harness) -> None:
    for number in range(20):
        harness.record(NO_SECRET, f"u{number}")
    assert harness.count("dropped") == 15
    await harness.time.advance(0.15)
    assert len(harness.events) == 2
    await harness.time.advance(1)
    assert len(harness.events) == 5


async def test_an_api_server_in_trouble_is_tried_again_and_then_left_alone(harness: Harness) -> None:
    posts = []

    def away(method: str, path: str) -> None:
        if path.startswith(EVENTS):
            posts.append(method)
            raise ApiError(503, "not now")

    harness.api.trouble = away
    harness.record(NO_SECRET)
    await harness.time.advance(30)
    assert posts == ["POST"] * 3
    assert harness.count("failed") == 1


async def test_a_namespace_that_is_going_away_takes_no_more_events(harness: Harness) -> None:
    def forbidden(_method: str, path: str) -> None:
        if path.startswith(EVENTS):
            raise ApiError(403, "the namespace is being terminated", reason="Forbidden")

    harness.api.trouble = forbidden
    harness.record(NO_SECRET)
    await harness.time.advance(30)
    assert (harness.count("failed"), harness.events) == (1, [])


async def test_one_that_lost_the_lease_tells_nothing(harness: Harness) -> None:
    harness.tasks[0].cancel()
    await harness.time.advance(10)
    harness.record(NO_SECRET)
    await harness.time.advance(1)
    assert (harness.count("not_sent"), harness.events) == (1, [])


def test_names_and_notes_fit_whatever_the_object_is_called() -> None:
    for name in ("a" * 253, "a" * 235 + "-." + "b" * 16, "a"):
        news = Transition(KEY._replace(name=name), "u", NO_SECRET._replace(message="ü" * 2000), bad=True)
        made = event(news, "i" * 300, datetime(2026, 12, 1, tzinfo=UTC))
        assert len(made["metadata"]["name"]) <= 253
        assert "-." not in made["metadata"]["name"]
        assert len(made["note"].encode()) <= 1024
        assert len(made["reportingInstance"]) == 128
