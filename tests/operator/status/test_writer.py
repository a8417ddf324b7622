"""The status writer writes what differs, once, on top of what it has read, and only while it holds the Lease."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from tests.operator.conftest import Build
from tests.operator.status.fake_api import FakeApi, Json
from tests.operator.timeline import Timeline

from limpet_extproc.contract.health_stream import Probed
from limpet_operator.fleet.view import GatewayState, Traffic, TrafficState
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import plan
from limpet_operator.probe.view import ProbeResult
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
    """What the gateways have, set by the test."""

    states: list[GatewayState] = field(default_factory=lambda: [GatewayState("g1", {"deepseek": VERSION}, {})])
    by_provider: dict[str, Traffic] = field(default_factory=dict)

    def gateways(self) -> Sequence[GatewayState]:
        return self.states

    def traffic(self) -> Mapping[str, Traffic]:
        return self.by_provider


@dataclass
class Probes:
    """What the probes have found, set by the test."""

    of_probe: dict[ObjectKey, list[ProbeResult]] = field(default_factory=dict)
    of_provider: dict[str, list[Probed]] = field(default_factory=dict)

    def results(self) -> Mapping[ObjectKey, Sequence[ProbeResult]]:
        return self.of_probe

    def probed(self) -> Mapping[str, Sequence[Probed]]:
        return self.of_provider


class Harness:
    """A writer with its lease over a fake API server whose watch the test plays; time moves only by `advance`."""

    def __init__(self, build: Build, intervals: WriteIntervals) -> None:
        self.build = build
        self.api = FakeApi()
        self.time = Timeline()
        self.store = ClusterStore(build.parser)
        self.fleet = Fleet()
        self.probes = Probes()
        self.version: dict[str, str] = {}
        self.recorded: list[tuple[ObjectKey, Finding, bool]] = []
        self.registry = CollectorRegistry()
        self.lease = Lease(
            self.api, "limpet", "lease", "me", clock=self.time.clock, now=self.time.now, sleep=self.time.sleep
        )
        self.writer = StatusWriter(
            self.api,
            self.lease,
            self.fleet,
            self.probes,
            stored=self.store.stored,
            published=lambda name: self.version.get(name, VERSION),
            record=lambda key, _uid, finding, *, bad: self.recorded.append((key, finding, bad)),
            metrics=build_writer_metrics(self.registry),
            intervals=intervals,
            clock=self.time.clock,
            now=self.time.now,
            sleep=self.time.sleep,
        )
        self.tasks = [asyncio.create_task(self.lease.run()), asyncio.create_task(self.writer.run())]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def apply(self, *raws: Json) -> None:
        """Objects that users write, as the watch delivers them."""
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
        """The watch delivers everything that exists, and what was deleted."""
        for raw in self.api.objects.values():
            if raw.get("kind") != "Lease":
                self.store.put(raw)
        self.writer.plan_changed(plan(self.store.objects, {}), self.store.objects)

    def status(self, path: str = PROVIDER) -> Any:
        return self.api.objects[path].get("status", {})

    def condition(self, kind: str, path: str = PROVIDER) -> tuple[str, str]:
        found = next(each for each in self.status(path)["conditions"] if each["type"] == kind)
        return found["status"], found["reason"]

    @property
    def patches(self) -> list[tuple[str, str, Any]]:
        return [call for call in self.api.calls if call[0] == "PATCH"]


@pytest_asyncio.fixture
async def harness(build: Build) -> AsyncIterator[Harness]:
    harness = Harness(build, WriteIntervals(settle_s=0.2, writers=4, per_object_s=1.0, hold_s=30.0))
    yield harness
    await harness.close()


async def test_an_object_that_is_applied_gets_one_status_and_then_peace(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider"), build.secret(), build.raw("StickyPolicy", "default"))
    await harness.time.advance(1)
    assert harness.condition("Accepted") == ("True", "Accepted")
    assert harness.condition("ResolvedRefs") == ("True", "ResolvedRefs")
    assert harness.condition("Programmed") == ("True", "Programmed")
    assert harness.condition("Healthy") == ("Unknown", "NoTraffic")
    assert harness.status()["observedGeneration"] == 1
    assert harness.status(f"{BASE}/stickypolicies/default")["conditions"][0]["type"] == "Accepted"
    assert len(harness.patches) == 2
    harness.watch()
    for _ in range(600):
        harness.writer.fleet_changed()
        await harness.time.advance(1)
    assert len(harness.patches) == 2


async def test_what_the_cache_does_is_shown_and_stays_where_nothing_is_known_of_it(
    harness: Harness, build: Build
) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(1)
    assert "cache" not in harness.status()

    async def hears(traffic: Traffic | None, shown: dict[str, int]) -> None:
        harness.fleet.by_provider = {"deepseek": traffic} if traffic else {}
        harness.writer.fleet_changed()
        await harness.time.advance(40)
        assert harness.status()["cache"] == shown

    up = Traffic(TrafficState(), hit_percent=93, warm_conversations=410)
    await hears(up, {"hitPercent": 93, "warmConversations": 410})
    await hears(replace(up, hit_percent=None, warm_conversations=0), {"hitPercent": 93, "warmConversations": 0})
    written = len(harness.patches)
    await hears(replace(up, hit_percent=None, warm_conversations=0), {"hitPercent": 93, "warmConversations": 0})
    assert len(harness.patches) == written
    await hears(None, {"hitPercent": 93, "warmConversations": 0})


async def test_the_first_statuses_of_many_objects_leave_the_api_server_time_for_others(
    harness: Harness, build: Build
) -> None:
    harness.apply(*(build.raw("StickyPolicy", f"policy-{number}", models=[f"m{number}"]) for number in range(100)))
    await harness.time.advance(1)
    assert 12 <= len(harness.patches) <= 20  # four writers, which rest for a fifth of a second after each
    await harness.time.advance(5)
    assert len(harness.patches) == 100


async def test_every_kind_has_its_conditions(harness: Harness, build: Build) -> None:
    source = {"name": "list", "retrieved": "2026-11-20"}
    harness.apply(
        build.raw("Provider"),
        build.secret(),
        build.raw("Pricing", source=source, staleAfter="720h"),
        build.raw("HealthProbe"),
        build.raw("StickyPolicy"),
    )
    await harness.time.advance(1)
    found = {
        kind: [each["type"] for each in harness.status(f"{BASE}/{plural}/deepseek")["conditions"]]
        for kind, plural in PLURALS.items()
    }
    assert found == {
        "Provider": ["Accepted", "ResolvedRefs", "Effective", "Programmed", "Healthy"],
        "Pricing": ["Accepted", "ResolvedRefs", "Effective", "Fresh"],
        "HealthProbe": ["Accepted", "ResolvedRefs", "Effective", "Probing"],
        "StickyPolicy": ["Accepted", "Effective"],
    }
    assert harness.status()["price"] == {"retrieved": "2026-11-20T00:00:00Z"}
    assert harness.status()["health"]["verdict"] == "Unknown"


@pytest.mark.slow
async def test_prices_turn_stale_by_themselves(harness: Harness, build: Build) -> None:
    source = {"name": "list", "retrieved": "2026-11-30"}
    harness.apply(build.raw("Provider"), build.secret(), build.raw("Pricing", source=source, staleAfter="30h"))
    await harness.time.advance(1)
    assert harness.condition("Fresh", f"{BASE}/pricings/deepseek") == ("True", "Fresh")
    await harness.time.advance(6.1 * 3600)
    assert harness.condition("Fresh", f"{BASE}/pricings/deepseek") == ("False", "Stale")


@pytest.mark.slow
async def test_a_date_in_the_future_is_fine_once_it_has_come(harness: Harness, build: Build) -> None:
    source = {"name": "list", "retrieved": "2026-12-02"}
    harness.apply(build.raw("Provider"), build.secret(), build.raw("Pricing", source=source))
    await harness.time.advance(1)
    assert harness.condition("Fresh", f"{BASE}/pricings/deepseek") == ("Unknown", "DateInFuture")
    await harness.time.advance(10.1 * 3600)
    assert harness.condition("Fresh", f"{BASE}/pricings/deepseek") == ("True", "NoLimit")


@pytest.mark.slow
async def test_the_window_in_force_is_written_when_it_turns(harness: Harness, build: Build) -> None:
    now = harness.time.now()
    hours = {"name": "soon", "from": f"{now + timedelta(hours=1):%H:%M}", "to": f"{now + timedelta(hours=3):%H:%M}"}
    harness.apply(build.raw("Provider"), build.secret(), build.raw("Pricing", windows=[{**hours, "factor": "2"}]))
    await harness.time.advance(1)
    minute = now.replace(second=0)

    def until(hours: int) -> str:
        return (minute + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def window() -> Any:
        return harness.status(f"{BASE}/pricings/deepseek").get("window")

    assert window() == {"until": until(1)}
    await harness.time.advance(3602)
    assert window() == {"name": "soon", "until": until(3)}
    writes = len(harness.patches)
    await harness.time.advance(7000)
    assert len(harness.patches) == writes
    await harness.time.advance(202)
    assert window() == {"until": until(25)}
    harness.apply(build.raw("Pricing"))
    await harness.time.advance(2)
    assert window() is None


async def test_a_missing_secret_and_its_arrival_are_said_and_told(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider"))
    await harness.time.advance(1)
    assert harness.condition("ResolvedRefs") == ("False", "SecretNotFound")
    assert harness.condition("Programmed") == ("False", "RefsNotResolved")
    assert [(finding.reason, bad) for _, finding, bad in harness.recorded] == [("SecretNotFound", True)]
    harness.apply(build.secret())
    await harness.time.advance(3)
    assert harness.condition("Programmed") == ("True", "Programmed")
    assert [(finding.reason, bad) for _, finding, bad in harness.recorded[1:]] == [("ResolvedRefs", False)]


async def test_a_refused_key_is_a_condition_and_an_event_in_the_providers_own_words(
    harness: Harness, build: Build
) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    words = ("CredentialRefused", 401, "Incorrect API key provided")
    refused = Traffic(TrafficState(None, 0.0, *words))
    for traffic in (refused, Traffic(TrafficState())):
        harness.fleet.by_provider = {"deepseek": traffic}
        harness.writer.fleet_changed()
        await harness.time.advance(3)
        status = "False" if traffic is refused else "True"
        assert harness.condition("Healthy")[0] == status
    (_, finding, bad), (_, over, _) = harness.recorded
    assert (finding.reason, bad) == ("CredentialRefused", True)
    assert '401 "Incorrect API key provided"' in finding.message
    assert over.reason == "TrafficOK"


async def test_verdicts_of_probes_are_written_once_and_single_probes_never(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider"), build.secret(), build.raw("HealthProbe"), build.raw("HealthProbe", "strict"))
    await harness.time.advance(2)
    keys, probe = [build.key("HealthProbe"), build.key("HealthProbe", "strict")], f"{BASE}/healthprobes/deepseek"
    assert harness.condition("Probing", probe) == ("Unknown", "Pending")
    assert harness.status(probe)["providers"] == {"probed": 0, "up": 0}
    refused = Probed("deepseek", "Down", "CredentialRefused", 1000.0, "", 401, "bad key", ("default/strict",))
    harness.probes.of_provider = {"deepseek": [refused]}
    up = ProbeResult("deepseek", "Up")
    written = len(harness.patches)
    for number in range(60):
        down = ProbeResult("deepseek", "Down", "CredentialRefused", 1000.0, last_s=1000.0 + number)
        harness.probes.of_probe = {keys[0]: [up._replace(last_s=1000.0 + number)], keys[1]: [down]}
        harness.writer.fleet_changed()
        await harness.time.advance(1)
    assert len(harness.patches) - written == 3
    assert harness.condition("Probing", probe) == ("True", "Probing")
    assert harness.status(probe)["providers"] == {"probed": 1, "up": 1}
    (message,) = [each["message"] for each in harness.status(probe)["conditions"] if each["type"] == "Probing"]
    assert "deepseek is also probed by HealthProbe strict, and the worse verdict counts" in message
    assert harness.status(f"{BASE}/healthprobes/strict")["providers"] == {"probed": 1, "up": 0}
    assert harness.status()["health"]["verdict"] == "Down"
    assert harness.condition("Healthy") == ("False", "CredentialRefused")
    assert [finding.reason for key, finding, _ in harness.recorded if key.kind == "Provider"] == ["CredentialRefused"]


async def test_a_provider_that_drains_says_when_it_can_be_removed(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider", drain=True), build.secret())
    for left in (12, 0):
        harness.fleet.by_provider = {"deepseek": Traffic(TrafficState(), warm_conversations=left)}
        harness.writer.fleet_changed()
        await harness.time.advance(3)
        assert harness.condition("Drained") == (("False", "ConversationsLeft") if left else ("True", "Drained"))
    assert [(finding.reason, bad) for _, finding, bad in harness.recorded] == [("Drained", False)]
    harness.apply(build.raw("Provider"))
    await harness.time.advance(3)
    assert "Drained" not in [each["type"] for each in harness.status()["conditions"]]


async def test_what_has_no_effect_is_told_once(harness: Harness, build: Build) -> None:
    policy = f"{BASE}/stickypolicies/deepseek"
    harness.apply(build.raw("Provider"), build.secret(), build.raw("StickyPolicy", models=["nomatch"]))
    await harness.time.advance(9)
    assert harness.condition("Effective", policy) == ("False", "MatchesNothing")
    assert harness.condition("Accepted", policy) == ("True", "Accepted")
    assert [(finding.type, finding.reason) for _, finding, _ in harness.recorded] == [("Effective", "MatchesNothing")]


async def test_one_that_does_not_hold_the_lease_writes_nothing(harness: Harness, build: Build) -> None:
    await harness.time.advance(1)
    lease = next(path for path in harness.api.objects if "leases" in path)
    spec = harness.api.objects[lease]["spec"]
    harness.api.put(lease, spec={**spec, "holderIdentity": "other"})
    await harness.time.advance(3)
    assert not harness.lease.valid()
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(3)
    assert harness.patches == []
    # The other one is gone: after a while it is this one's turn, and it looks at everything.
    await harness.time.advance(15)
    assert harness.condition("Programmed") == ("True", "Programmed")


async def test_a_write_on_top_of_an_unseen_change_is_refused_and_made_again_on_what_is_there(
    harness: Harness, build: Build
) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    other = {"type": "example.com/Audited", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "t"}
    harness.api.put(PROVIDER, status={"conditions": [other]})  # The watch has not delivered it.
    await harness.time.advance(5)
    assert [each["type"] for each in harness.status()["conditions"]][:2] == ["example.com/Audited", "Accepted"]
    assert len(harness.patches) == 2
    assert harness.registry.get_sample_value(
        "limpet_status_writes_total", {"kind": "Provider", "outcome": "conflict"}
    ) == 1  # fmt: skip


async def test_a_status_that_somebody_spoils_is_put_right(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(2)
    harness.api.put(PROVIDER, status={})
    harness.watch()
    await harness.time.advance(2)
    assert harness.condition("Programmed") == ("True", "Programmed")


async def test_a_rejection_is_shown_at_once_and_gone_when_a_good_version_is_taken(
    harness: Harness, build: Build
) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(2)
    harness.version["deepseek"] = "v2"
    harness.fleet.states = [GatewayState("g1", {"deepseek": "v1"}, {"deepseek": "idle_timeout: must be positive"})]
    harness.writer.fleet_changed()
    await harness.time.advance(2)
    assert harness.condition("Programmed") == ("False", "Rejected")
    harness.fleet.states = [GatewayState("g1", {"deepseek": "v2"}, {})]
    harness.writer.fleet_changed()
    await harness.time.advance(2)
    assert harness.condition("Programmed") == ("True", "Programmed")
    assert [(finding.reason, bad) for _, finding, bad in harness.recorded] == [
        ("Rejected", True),
        ("Programmed", False),
    ]


async def test_a_gateway_that_is_added_changes_nothing_if_it_is_quick_and_is_waited_for_if_not(
    harness: Harness, build: Build
) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(2)
    written = len(harness.patches)
    slow = GatewayState("g2", {}, {})
    harness.fleet.states = [*harness.fleet.states, slow]
    harness.writer.fleet_changed()
    await harness.time.advance(25)
    assert len(harness.patches) == written
    await harness.time.advance(10)
    assert harness.condition("Programmed") == ("False", "Pending")
    harness.fleet.states[-1] = replace(slow, clusters={"deepseek": VERSION})
    harness.writer.fleet_changed()
    await harness.time.advance(2)
    assert harness.condition("Programmed") == ("True", "Programmed")
    assert len(harness.patches) == written + 2


async def test_a_provider_that_flaps_is_written_once_a_second_at_most(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(2)
    written = len(harness.patches)
    for number in range(50):
        up = number % 2 == 1
        harness.fleet.by_provider = {"deepseek": Traffic(TrafficState(None if up else "down"))}
        harness.writer.fleet_changed()
        await harness.time.advance(0.25)
    assert 8 <= len(harness.patches) - written <= 14
    await harness.time.advance(2)
    assert harness.condition("Healthy") == ("True", "TrafficOK")


async def test_an_api_server_in_trouble_is_asked_less_and_less_and_catches_up(harness: Harness, build: Build) -> None:
    def overloaded(method: str, _path: str) -> None:
        if method == "PATCH":
            raise ApiError(429, "slow down", reason="TooManyRequests", retry_after_s=5)

    await harness.time.advance(1)
    harness.api.trouble = overloaded
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(60)
    assert 3 <= len(harness.patches) <= 7
    harness.api.trouble = lambda _method, _path: None
    await harness.time.advance(65)
    assert harness.condition("Programmed") == ("True", "Programmed")


async def test_a_late_refusal_after_the_lease_was_lost_keeps_nobody_busy(harness: Harness, build: Build) -> None:
    harness.apply(build.raw("Provider"), build.secret())
    await harness.time.advance(1)

    async def away(method: str) -> None:
        if method != "PATCH":
            raise ApiError(503, "no answer in time")
        await harness.time.sleep(20)
        raise NotSentError

    harness.api.before = away
    harness.apply(build.raw("Provider", weight=7))
    await harness.time.advance(25)
    assert not harness.lease.valid()
    before = harness.time.slept
    await harness.time.advance(60)
    assert harness.time.slept - before < 60, "the Lease is renewed every two seconds, and little else happens"
    harness.api.before = None
    await harness.time.advance(5)
    assert harness.status()["observedGeneration"] == 2


async def test_what_an_older_crd_drops_is_not_sent_for_ever(harness: Harness, build: Build) -> None:
    harness.api.drops = "health"
    harness.apply(build.raw("Provider"), build.secret())
    for _ in range(30):
        harness.watch()
        await harness.time.advance(2)
    assert len(harness.patches) == 1


async def test_five_thousand_objects_and_only_the_one_that_changed_is_written(harness: Harness, build: Build) -> None:
    names = [f"p{number:04}" for number in range(1000)]
    harness.fleet.states = [GatewayState("g1", dict.fromkeys(names, VERSION), {})]
    harness.apply(*(build.raw("Provider", name) for name in names), build.secret())
    await harness.time.advance(60)
    assert len(harness.patches) == 1000
    harness.watch()
    harness.apply(build.raw("Provider", "p0500", weight=7))
    await harness.time.advance(10)
    assert [path for _, path, _ in harness.patches[1000:]] == [f"{BASE}/providers/p0500/status"]


async def test_writes_under_way_end_before_the_keeper_does(harness: Harness, build: Build) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    call = harness.api.call

    class Slow:
        async def call(self, method: str, path: str, *arguments: Any, **options: Any) -> Any:
            if method == "PATCH":
                begun.set()
                await go_on.wait()
            return await call(method, path, *arguments, **options)

    writer = StatusWriter(
        Slow(),
        harness.lease,
        harness.fleet,
        harness.probes,
        stored=harness.store.stored,
        published=lambda _: VERSION,
        record=lambda *_, **__: None,
        metrics=build_writer_metrics(CollectorRegistry()),
        clock=harness.time.clock,
        now=harness.time.now,
        sleep=harness.time.sleep,
    )
    harness.tasks[1].cancel()
    running = asyncio.create_task(writer.run())
    harness.apply(build.raw("Provider"), build.secret())
    writer.plan_changed(plan(harness.store.objects, {}), harness.store.objects)
    await harness.time.advance(1)
    await begun.wait()
    running.cancel()
    await harness.time.advance(0)
    assert not running.done()
    go_on.set()
    with suppress(asyncio.CancelledError):
        await running
    assert harness.condition("Programmed") == ("True", "Programmed")
