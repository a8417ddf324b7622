"""The keeper of statuses: writes what differs, once, on top of what it has seen, and only while it holds the Lease."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest_asyncio
from prometheus_client import CollectorRegistry
from tests.operator.conftest import Build
from tests.operator.status.fake_api import FakeApi, Json, Timeline

from limpet_operator.fleet.acks import GatewayState, Traffic
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import plan
from limpet_operator.resources.problem import PLURALS, ObjectKey
from limpet_operator.sources.cluster_store import ClusterStore
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import NotSentError
from limpet_operator.status.lease import Lease
from limpet_operator.status.metrics import build_writer_metrics
from limpet_operator.status.writer import StatusWriter, WriteIntervals

BASE = "/apis/limpet.dev/v1alpha1/namespaces/default"
PROVIDER = f"{BASE}/providers/deepseek"
VERSION = "v1"


@dataclass
class Fleet:
    """What the gateways have, as the test says."""

    states: list[GatewayState] = field(default_factory=lambda: [GatewayState("g1", {"deepseek": VERSION}, {})])
    heard: dict[str, Traffic] = field(default_factory=dict)

    def gateways(self) -> Sequence[GatewayState]:
        return self.states

    def traffic(self) -> Mapping[str, Traffic]:
        return self.heard


class Office:
    """A keeper with its lease over a fake API server whose watch the test plays; time moves only by `advance`."""

    def __init__(self, build: Build, pace: WriteIntervals) -> None:
        self.build = build
        self.api = FakeApi()
        self.time = Timeline()
        self.store = ClusterStore(build.parser)
        self.fleet = Fleet()
        self.version: dict[str, str] = {}
        self.told: list[tuple[ObjectKey, Finding, bool]] = []
        self.registry = CollectorRegistry()
        self.lease = Lease(
            self.api, "limpet", "lease", "me", clock=self.time.clock, now=self.time.now, sleep=self.time.sleep
        )
        self.keeper = StatusWriter(
            self.api,
            self.lease,
            self.fleet,
            held=self.store.held,
            published=lambda name: self.version.get(name, VERSION),
            tell=lambda key, _uid, finding, *, bad: self.told.append((key, finding, bad)),
            metrics=build_writer_metrics(self.registry),
            pace=pace,
            clock=self.time.clock,
            now=self.time.now,
            sleep=self.time.sleep,
        )
        self.tasks = [asyncio.create_task(self.lease.run()), asyncio.create_task(self.keeper.run())]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def apply(self, *raws: Json) -> None:
        """What users write, as the watch tells of it."""
        for raw in raws:
            if raw["kind"] == "Secret":
                path = f"/api/v1/namespaces/default/secrets/{raw['metadata']['name']}"
            else:
                path = f"{BASE}/{PLURALS[raw['kind']]}/{raw['metadata']['name']}"
            old = self.api.objects.get(path)
            generation = 1 if old is None else old["metadata"]["generation"] + (old.get("spec") != raw.get("spec"))
            own = {name: part for name, part in raw.items() if name != "metadata"}
            self.api.put(path, **own, metadata={**raw["metadata"], "generation": generation})
        self.watch()

    def watch(self) -> None:
        """The watch tells of everything that is there, and of what is gone."""
        for raw in self.api.objects.values():
            if raw.get("kind") != "Lease":
                self.store.put(raw)
        self.keeper.plan_changed(plan(self.store.objects, {}), self.store.objects)

    def status(self, path: str = PROVIDER) -> Any:
        return self.api.objects[path].get("status", {})

    def said(self, kind: str, path: str = PROVIDER) -> tuple[str, str]:
        found = next(each for each in self.status(path)["conditions"] if each["type"] == kind)
        return found["status"], found["reason"]

    @property
    def patches(self) -> list[tuple[str, str, Any]]:
        return [call for call in self.api.calls if call[0] == "PATCH"]


@pytest_asyncio.fixture
async def office(build: Build) -> AsyncIterator[Office]:
    office = Office(build, WriteIntervals(settle_s=0.2, writers=4, per_object_s=1.0, hold_s=30.0))
    yield office
    await office.close()


async def test_an_object_that_is_applied_gets_one_status_and_then_peace(office: Office, build: Build) -> None:
    office.apply(build.raw("Provider"), build.secret(), build.raw("StickyPolicy", "default"))
    await office.time.advance(1)
    assert office.said("Accepted") == ("True", "Accepted")
    assert office.said("ResolvedRefs") == ("True", "ResolvedRefs")
    assert office.said("Programmed") == ("True", "Programmed")
    assert office.said("Healthy") == ("Unknown", "NoTraffic")
    assert office.status()["observedGeneration"] == 1
    assert office.status(f"{BASE}/stickypolicies/default")["conditions"][0]["type"] == "Accepted"
    assert len(office.patches) == 2
    office.watch()
    for _ in range(600):
        office.keeper.fleet_changed()
        await office.time.advance(1)
    assert len(office.patches) == 2


async def test_what_the_cache_does_is_shown_and_stays_where_nothing_is_known_of_it(
    office: Office, build: Build
) -> None:
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(1)
    assert "cache" not in office.status()

    async def hears(traffic: Traffic | None, shown: dict[str, int]) -> None:
        office.fleet.heard = {"deepseek": traffic} if traffic else {}
        office.keeper.fleet_changed()
        await office.time.advance(40)
        assert office.status()["cache"] == shown

    up = Traffic("up", "up", 0.0, 2, 0, hit_percent=93, warm_conversations=410)
    await hears(up, {"hitPercent": 93, "warmConversations": 410})
    await hears(replace(up, hit_percent=None, warm_conversations=0), {"hitPercent": 93, "warmConversations": 0})
    written = len(office.patches)
    await hears(replace(up, hit_percent=None, warm_conversations=0), {"hitPercent": 93, "warmConversations": 0})
    assert len(office.patches) == written
    await hears(None, {"hitPercent": 93, "warmConversations": 0})


async def test_the_first_statuses_of_many_objects_leave_the_api_server_time_for_others(
    office: Office, build: Build
) -> None:
    office.apply(*(build.raw("StickyPolicy", f"policy-{number}", models=[f"m{number}"]) for number in range(100)))
    await office.time.advance(1)
    assert 12 <= len(office.patches) <= 20  # four writers, which rest for a fifth of a second after each
    await office.time.advance(5)
    assert len(office.patches) == 100


async def test_every_kind_has_its_conditions(office: Office, build: Build) -> None:
    source = {"name": "list", "retrieved": "2026-11-20"}
    office.apply(
        build.raw("Provider"),
        build.secret(),
        build.raw("Pricing", source=source, staleAfter="720h"),
        build.raw("HealthProbe"),
        build.raw("StickyPolicy"),
    )
    await office.time.advance(1)
    found = {
        kind: [each["type"] for each in office.status(f"{BASE}/{plural}/deepseek")["conditions"]]
        for kind, plural in PLURALS.items()
    }
    assert found == {
        "Provider": ["Accepted", "ResolvedRefs", "Effective", "Programmed", "Healthy"],
        "Pricing": ["Accepted", "ResolvedRefs", "Effective", "Fresh"],
        "HealthProbe": ["Accepted", "ResolvedRefs", "Effective"],
        "StickyPolicy": ["Accepted", "Effective"],
    }
    assert office.status()["price"] == {"retrieved": "2026-11-20T00:00:00Z"}
    assert office.status()["health"]["verdict"] == "Unknown"


async def test_prices_turn_stale_by_themselves(office: Office, build: Build) -> None:
    source = {"name": "list", "retrieved": "2026-11-30"}
    office.apply(build.raw("Provider"), build.secret(), build.raw("Pricing", source=source, staleAfter="30h"))
    await office.time.advance(1)
    assert office.said("Fresh", f"{BASE}/pricings/deepseek") == ("True", "Fresh")
    await office.time.advance(6.1 * 3600)
    assert office.said("Fresh", f"{BASE}/pricings/deepseek") == ("False", "Stale")


async def test_a_missing_secret_and_its_arrival_are_said_and_told(office: Office, build: Build) -> None:
    office.apply(build.raw("Provider"))
    await office.time.advance(1)
    assert office.said("ResolvedRefs") == ("False", "SecretNotFound")
    assert office.said("Programmed") == ("False", "RefsNotResolved")
    assert [(finding.reason, bad) for _, finding, bad in office.told] == [("SecretNotFound", True)]
    office.apply(build.secret())
    await office.time.advance(3)
    assert office.said("Programmed") == ("True", "Programmed")
    assert [(finding.reason, bad) for _, finding, bad in office.told[1:]] == [("ResolvedRefs", False)]


async def test_a_refused_key_is_a_condition_and_an_event_in_the_providers_own_words(
    office: Office, build: Build
) -> None:
    office.apply(build.raw("Provider"), build.secret())
    refused = Traffic("up", "up", 0.0, 1, 0, cause="CredentialRefused", status=401, says="Incorrect API key provided")
    for heard in (refused, Traffic("up", "up", 0.0, 1, 0)):
        office.fleet.heard = {"deepseek": heard}
        office.keeper.fleet_changed()
        await office.time.advance(3)
        status = "False" if heard is refused else "True"
        assert office.said("Healthy")[0] == status
    (_, finding, bad), (_, over, _) = office.told
    assert (finding.reason, bad) == ("CredentialRefused", True)
    assert '401 "Incorrect API key provided"' in finding.message
    assert over.reason == "TrafficOK"


async def test_what_has_no_effect_is_told_once(office: Office, build: Build) -> None:
    probe = f"{BASE}/healthprobes/deepseek"
    office.apply(build.raw("Provider"), build.secret(), build.raw("HealthProbe"))
    await office.time.advance(9)
    assert office.said("Effective", probe) == ("False", "NotProbed")
    assert office.said("Accepted", probe) == ("True", "Accepted")
    assert [(finding.type, finding.reason) for _, finding, _ in office.told] == [("Effective", "NotProbed")]


async def test_one_that_does_not_hold_the_lease_writes_nothing(office: Office, build: Build) -> None:
    await office.time.advance(1)
    lease = next(path for path in office.api.objects if "leases" in path)
    spec = office.api.objects[lease]["spec"]
    office.api.put(lease, spec={**spec, "holderIdentity": "other"})
    await office.time.advance(3)
    assert not office.lease.valid()
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(3)
    assert office.patches == []
    # The other one is gone: after a while it is this one's turn, and it looks at everything.
    await office.time.advance(15)
    assert office.said("Programmed") == ("True", "Programmed")


async def test_a_write_on_top_of_an_unseen_change_is_refused_and_made_again_on_what_is_there(
    office: Office, build: Build
) -> None:
    office.apply(build.raw("Provider"), build.secret())
    other = {"type": "example.com/Audited", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "t"}
    office.api.put(PROVIDER, status={"conditions": [other]})  # The watch has not told of it.
    await office.time.advance(5)
    assert [each["type"] for each in office.status()["conditions"]][:2] == ["example.com/Audited", "Accepted"]
    assert len(office.patches) == 2
    assert office.registry.get_sample_value(
        "limpet_status_writes_total", {"kind": "Provider", "outcome": "conflict"}
    ) == 1  # fmt: skip


async def test_a_status_that_somebody_spoils_is_put_right(office: Office, build: Build) -> None:
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(2)
    office.api.put(PROVIDER, status={})
    office.watch()
    await office.time.advance(2)
    assert office.said("Programmed") == ("True", "Programmed")


async def test_a_rejection_is_shown_at_once_and_gone_when_a_good_version_is_taken(office: Office, build: Build) -> None:
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(2)
    office.version["deepseek"] = "v2"
    office.fleet.states = [GatewayState("g1", {"deepseek": "v1"}, {"deepseek": "idle_timeout: must be positive"})]
    office.keeper.fleet_changed()
    await office.time.advance(2)
    assert office.said("Programmed") == ("False", "Rejected")
    office.fleet.states = [GatewayState("g1", {"deepseek": "v2"}, {})]
    office.keeper.fleet_changed()
    await office.time.advance(2)
    assert office.said("Programmed") == ("True", "Programmed")
    assert [(finding.reason, bad) for _, finding, bad in office.told] == [("Rejected", True), ("Programmed", False)]


async def test_a_gateway_that_is_added_changes_nothing_if_it_is_quick_and_is_waited_for_if_not(
    office: Office, build: Build
) -> None:
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(2)
    written = len(office.patches)
    slow = GatewayState("g2", {}, {})
    office.fleet.states = [*office.fleet.states, slow]
    office.keeper.fleet_changed()
    await office.time.advance(25)
    assert len(office.patches) == written
    await office.time.advance(10)
    assert office.said("Programmed") == ("False", "Pending")
    office.fleet.states[-1] = replace(slow, clusters={"deepseek": VERSION})
    office.keeper.fleet_changed()
    await office.time.advance(2)
    assert office.said("Programmed") == ("True", "Programmed")
    assert len(office.patches) == written + 2


async def test_a_provider_that_flaps_is_written_once_a_second_at_most(office: Office, build: Build) -> None:
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(2)
    written = len(office.patches)
    for number in range(50):
        up = number % 2 == 1
        office.fleet.heard = {"deepseek": Traffic("up" if up else "down", "up" if up else "down", 0.0, 1, 1)}
        office.keeper.fleet_changed()
        await office.time.advance(0.25)
    assert 8 <= len(office.patches) - written <= 14
    await office.time.advance(2)
    assert office.said("Healthy") == ("True", "TrafficOK")


async def test_an_api_server_in_trouble_is_asked_less_and_less_and_catches_up(office: Office, build: Build) -> None:
    def overloaded(method: str, _path: str) -> None:
        if method == "PATCH":
            raise ApiError(429, "slow down", reason="TooManyRequests", retry_after_s=5)

    await office.time.advance(1)
    office.api.trouble = overloaded
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(60)
    assert 3 <= len(office.patches) <= 7
    office.api.trouble = lambda _method, _path: None
    await office.time.advance(65)
    assert office.said("Programmed") == ("True", "Programmed")


async def test_a_late_refusal_after_the_lease_was_lost_keeps_nobody_busy(office: Office, build: Build) -> None:
    office.apply(build.raw("Provider"), build.secret())
    await office.time.advance(1)

    async def away(method: str) -> None:
        if method != "PATCH":
            raise ApiError(503, "no answer in time")
        await office.time.sleep(20)
        raise NotSentError

    office.api.before = away
    office.apply(build.raw("Provider", weight=7))
    await office.time.advance(25)
    assert not office.lease.valid()
    before = office.time.slept
    await office.time.advance(60)
    assert office.time.slept - before < 60, "the lease is asked for every two seconds, and little else happens"
    office.api.before = None
    await office.time.advance(5)
    assert office.status()["observedGeneration"] == 2


async def test_what_an_older_crd_drops_is_not_sent_for_ever(office: Office, build: Build) -> None:
    office.api.drops = "health"
    office.apply(build.raw("Provider"), build.secret())
    for _ in range(30):
        office.watch()
        await office.time.advance(2)
    assert len(office.patches) == 1


async def test_five_thousand_objects_and_only_the_one_that_changed_is_written(office: Office, build: Build) -> None:
    names = [f"p{number:04}" for number in range(1000)]
    office.fleet.states = [GatewayState("g1", dict.fromkeys(names, VERSION), {})]
    office.apply(*(build.raw("Provider", name) for name in names), build.secret())
    await office.time.advance(60)
    assert len(office.patches) == 1000
    office.watch()
    office.apply(build.raw("Provider", "p0500", weight=7))
    await office.time.advance(10)
    assert [path for _, path, _ in office.patches[1000:]] == [f"{BASE}/providers/p0500/status"]


async def test_writes_under_way_end_before_the_keeper_does(office: Office, build: Build) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    call = office.api.call

    class Slow:
        async def call(self, method: str, path: str, *arguments: Any, **options: Any) -> Any:
            if method == "PATCH":
                begun.set()
                await go_on.wait()
            return await call(method, path, *arguments, **options)

    keeper = StatusWriter(
        Slow(),
        office.lease,
        office.fleet,
        held=office.store.held,
        published=lambda _: VERSION,
        tell=lambda *_, **__: None,
        metrics=build_writer_metrics(CollectorRegistry()),
        clock=office.time.clock,
        now=office.time.now,
        sleep=office.time.sleep,
    )
    office.tasks[1].cancel()
    running = asyncio.create_task(keeper.run())
    office.apply(build.raw("Provider"), build.secret())
    keeper.plan_changed(plan(office.store.objects, {}), office.store.objects)
    await office.time.advance(1)
    await begun.wait()
    running.cancel()
    await office.time.advance(0)
    assert not running.done()
    go_on.set()
    with suppress(asyncio.CancelledError):
        await running
    assert office.said("Programmed") == ("True", "Programmed")
