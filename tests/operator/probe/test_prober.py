"""The prober asks only while it leads, tells every change at once, and repeats what has not changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest_asyncio
from prometheus_client import CollectorRegistry
from tests.operator.conftest import Build
from tests.operator.timeline import Timeline

from limpet_extproc.contract.health_stream import ProbeAnswer, Probed, ProbeRequest, ProbeVerdicts
from limpet_operator.probe.metrics import build_probe_metrics
from limpet_operator.probe.prober import MAX_UNDER_WAY, REPEAT_S, VALID_S, Chance, Prober
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.serve.health_exchange import CannotAskError

ALL = ObjectKey("HealthProbe", "default", "all")
UP = ProbeAnswer(0, status=200, body="{}")
REFUSED = ProbeAnswer(0, status=401, body='{"error": {"message": "wrong key"}}')


class Workers:
    """Workers that answer as the test says."""

    def __init__(self, time: Timeline) -> None:
        self.time = time
        self.answers: dict[str, ProbeAnswer | None] = {}
        """By provider; None: nobody can be asked. Any other provider is up."""
        self.takes_s = 0.1
        self.asked: list[ProbeRequest] = []
        self.under_way = 0
        self.most_under_way = 0
        self.told: list[ProbeVerdicts] = []
        self.standing: ProbeVerdicts | None = None
        self.workers = 1

    async def ask(self, request: ProbeRequest) -> ProbeAnswer:
        self.asked.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.time.sleep(self.takes_s)
        finally:
            self.under_way -= 1
        answer = self.answers.get(request.provider, UP)
        if answer is None:
            raise CannotAskError("no worker is connected")
        return answer

    def publish(self, verdicts: ProbeVerdicts) -> None:
        self.told.append(verdicts)

    def verdicts(self) -> ProbeVerdicts | None:
        return self.standing

    @property
    def now(self) -> dict[str, str]:
        """What workers believe: the verdicts of whole providers."""
        return {each.provider: each.verdict for each in self.told[-1].probed if not each.model} if self.told else {}


class Scene:
    """A prober whose time moves only by the test."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.time = Timeline()
        self.workers = Workers(self.time)
        self.registry = CollectorRegistry()
        self.leads = True
        self.changes = 0
        chance = Chance(self.time.clock, self.time.clock, self.time.sleep, Random(1))
        metrics = build_probe_metrics(self.registry)
        self.prober = Prober(self.workers, metrics, lambda: self.leads, self._changed, chance)
        self.task = asyncio.create_task(self.prober.run())

    def _changed(self) -> None:
        self.changes += 1

    def apply(self, *raws: Any, providers: tuple[str, ...] = ("a",)) -> None:
        own = [self.build.raw("Provider", name, credential=None) for name in providers]
        self.prober.plan_changed(self.build.plan(*own, *raws))

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def close(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest_asyncio.fixture
async def scene(build: Build) -> AsyncIterator[Scene]:
    made = Scene(build)
    yield made
    await made.close()


async def test_a_good_provider_is_up_after_its_first_answer(scene: Scene) -> None:
    scene.apply(scene.build.raw("HealthProbe", "all"))
    await scene.time.advance(1.0)
    assert scene.workers.now == {"a": "Up"}
    assert scene.changes == 1 + 1  # Not known yet, then up.
    assert [result.verdict for result in scene.prober.results()[ALL]] == ["Up"]
    assert scene.metric("limpet_probes_total", provider="a", outcome="up") == 1
    await scene.time.advance(300.0)
    assert 9 <= len(scene.workers.asked) <= 12
    assert scene.changes == 2


async def test_a_wrong_key_is_found_in_seconds_although_the_interval_is_long(scene: Scene) -> None:
    scene.workers.answers = {"a": REFUSED}
    scene.apply(scene.build.raw("HealthProbe", "all", interval="10m"))
    await scene.time.advance(4.0)
    assert scene.workers.now == {"a": "Down"}
    (probed,) = scene.prober.probed()["a"]
    assert (probed.cause, probed.status, probed.message) == ("CredentialRefused", 401, "wrong key")
    assert probed.probes == ("default/all",)
    asked = len(scene.workers.asked)
    await scene.time.advance(300.0)
    assert len(scene.workers.asked) == asked


async def test_a_provider_that_was_put_right_is_up_in_seconds(scene: Scene) -> None:
    scene.workers.answers = {"a": REFUSED}
    scene.apply(scene.build.raw("HealthProbe", "all", interval="10m"))
    await scene.time.advance(4.0)
    scene.workers.answers = {}
    scene.prober.plan_changed(
        scene.build.plan(
            scene.build.raw("Provider", "a", credential=None, weight=50), scene.build.raw("HealthProbe", "all")
        )
    )
    await scene.time.advance(4.0)
    assert scene.workers.now == {"a": "Up"}


async def test_without_a_healthprobe_nobody_is_asked_and_nothing_is_claimed(scene: Scene) -> None:
    scene.apply()
    await scene.time.advance(120.0)
    assert scene.workers.asked == []
    assert all(not told.probed for told in scene.workers.told)
    assert len(scene.workers.told) == 1
    assert scene.prober.results() == {}


async def test_what_has_not_changed_is_repeated_before_it_expires(scene: Scene) -> None:
    scene.apply(scene.build.raw("HealthProbe", "all", interval="1h"))
    await scene.time.advance(1.0)
    scene.workers.told.clear()
    await scene.time.advance(REPEAT_S * 6 + 1)
    assert len(scene.workers.told) >= 5
    assert {told.valid_s for told in scene.workers.told} == {VALID_S}
    assert VALID_S >= 3 * REPEAT_S


async def test_how_old_the_last_good_probe_is_is_told_with_every_repetition(scene: Scene) -> None:
    scene.apply(scene.build.raw("HealthProbe", "all", interval="1h"))
    await scene.time.advance(1.0)
    ages = [told.probed[0].good_age_s for told in scene.workers.told if told.probed]
    await scene.time.advance(2 * REPEAT_S)
    later = [told.probed[0].good_age_s for told in scene.workers.told if told.probed]
    assert ages[0] is not None
    assert scene.workers.takes_s <= ages[0] < 1.0
    assert later[-1] is not None
    assert later[-1] > REPEAT_S
    assert scene.changes == 2


async def test_a_good_probe_after_a_bad_one_is_told_at_once(scene: Scene) -> None:
    scene.apply(scene.build.raw("HealthProbe", "all", interval="3s", timeout="1s"))
    await scene.time.advance(REPEAT_S)
    scene.workers.answers = {"a": REFUSED}
    asked = len(scene.workers.asked)
    while len(scene.workers.asked) == asked:
        await scene.time.advance(0.1)
    await scene.time.advance(0.5)
    scene.workers.answers = {}
    told = len(scene.workers.told)
    await scene.time.advance(4.5)
    assert scene.workers.now == {"a": "Up"}, "one bad probe changes no verdict"
    assert any(each.probed[0].good_age_s is not None for each in scene.workers.told[told:])


async def test_one_that_does_not_lead_asks_nobody_and_knows_nothing(scene: Scene) -> None:
    scene.leads = False
    scene.apply(scene.build.raw("HealthProbe", "all", interval="1s", timeout="1s"))
    await scene.time.advance(30.0)
    assert (scene.workers.asked, scene.workers.told) == ([], [])
    scene.leads = True
    await scene.time.advance(1.0)
    assert scene.workers.now == {"a": "Up"}


async def test_when_the_lease_is_lost_everything_stops_and_no_late_answer_counts(scene: Scene) -> None:
    scene.workers.takes_s = 4.0
    scene.apply(scene.build.raw("HealthProbe", "all"))
    await scene.time.advance(1.0)
    assert scene.workers.under_way == 1
    scene.leads = False
    await scene.time.advance(0.5)
    assert scene.workers.under_way == 0
    told = len(scene.workers.told)
    await scene.time.advance(60.0)
    assert (len(scene.workers.asked), len(scene.workers.told)) == (1, told)
    assert (scene.prober.results(), scene.prober.probed()) == ({}, {})


async def test_a_new_leader_keeps_the_old_ones_verdicts_until_it_has_its_own(scene: Scene) -> None:
    scene.leads = False
    scene.workers.answers = {"a": REFUSED, "b": None}
    before = (Probed("a", "Down", "Timeout", 5.0), Probed("b", "Down", "Timeout", 5.0), Probed("gone", "Down"))
    scene.workers.standing = ProbeVerdicts(before, 25.0)
    scene.apply(scene.build.raw("HealthProbe", "all"), providers=("a", "b"))
    scene.leads = True
    await scene.time.advance(0.3)
    assert scene.workers.told[-1].probed == before[:2]
    await scene.time.advance(5.0)
    causes = {each.provider: each.cause for each in scene.workers.told[-1].probed}
    assert causes == {"a": "CredentialRefused", "b": "Timeout"}
    await scene.time.advance(VALID_S)
    assert scene.workers.now == {"a": "Down"}


async def test_what_cannot_be_sent_is_tried_again_and_blames_nobody(scene: Scene) -> None:
    scene.workers.answers = {"a": None}
    scene.apply(scene.build.raw("HealthProbe", "all"))
    await scene.time.advance(10.0)
    (result,) = scene.prober.results()[ALL]
    assert (result.verdict, result.not_sent) == (None, "no worker is connected")
    assert scene.metric("limpet_probes_total", provider="a", outcome="not_sent") >= 5
    await scene.time.advance(590.0)
    asked = len(scene.workers.asked)
    assert asked <= 5 + 600.0 / 30.0 + 5
    scene.workers.answers, scene.workers.workers = {}, 0
    await scene.time.advance(0.3)
    scene.workers.workers = 1
    await scene.time.advance(2.0)
    assert scene.workers.now == {"a": "Up"}


async def test_many_providers_that_hang_hold_up_a_bounded_number_of_probes(scene: Scene) -> None:
    scene.workers.takes_s = 20.0
    names = tuple(f"p{number}" for number in range(2 * MAX_UNDER_WAY))
    scene.apply(scene.build.raw("HealthProbe", "all"), providers=names)
    await scene.time.advance(85.0)
    assert scene.workers.most_under_way == MAX_UNDER_WAY // 2
    assert {request.provider for request in scene.workers.asked} == set(names)


async def test_a_probe_that_is_removed_is_forgotten_with_what_it_found(scene: Scene) -> None:
    scene.workers.answers = {"a": REFUSED}
    scene.apply(scene.build.raw("HealthProbe", "all"))
    await scene.time.advance(4.0)
    scene.apply()
    await scene.time.advance(1.0)
    assert scene.workers.now == {}
    assert scene.prober.probed() == {}


async def test_completions_are_counted_in_dollars_and_unknown_prices_apart(scene: Scene) -> None:
    done = '{"choices": [{}], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}'
    scene.workers.answers = {name: ProbeAnswer(0, status=200, body=done) for name in "ab"}
    scene.apply(
        scene.build.raw("Pricing", "a", providerRef={"name": "a"}),
        scene.build.raw("HealthProbe", "all", http=None, completion={"model": "flash"}),
        providers=("a", "b"),
    )
    await scene.time.advance(1.0)
    assert scene.metric("limpet_probe_usd_total", provider="a") == (10 * 0.15 + 0.60) / 1e6
    assert scene.metric("limpet_probes_unpriced_total", provider="a") == 0
    assert scene.metric("limpet_probe_usd_total", provider="b") == 0
    assert scene.metric("limpet_probes_unpriced_total", provider="b") == 1
    assert {each.model for each in scene.workers.told[-1].probed} == {"flash"}
