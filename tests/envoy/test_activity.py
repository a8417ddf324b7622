"""Each request becomes one record at the activity service, whatever becomes of the request, and of the service."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from tests.envoy import every_api
from tests.envoy.cast import LONG, say
from tests.envoy.conftest import set_stage
from tests.envoy.stage import Stage
from tests.envoy.upstream import Upstream
from tests.waiting import until

from limpet_extproc.contract.activity import ActivityRecord, ProviderReport
from limpet_lab.activity import TakingService
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Note it down")]
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_NAME = re.compile("[0-9a-f]{32}")


class Scene:
    """A stage whose gateway tells a stand-in of the activity service; its socket is `target`."""

    def __init__(self, stage: Stage, service: TakingService, target: str) -> None:
        self.stage = stage
        self.service = service
        self.target = target

    def served(self) -> list[ActivityRecord]:
        """Those of requests that a provider answered."""
        return [each for each in self.service.records if each.provider]

    async def records(self, count: int) -> list[ActivityRecord]:
        """The same, as soon as there are so many."""
        await until(lambda: len(self.served()) >= count, f"{count} records")
        return self.served()


@asynccontextmanager
async def scene(number: int, sellers: Sellers, parser: Parser) -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="lmp-") as folder:
        target = f"unix:{folder}/activity.sock"
        metrics_port = free_port()
        settings = LocalSettings(
            port=free_port(), extproc_metrics_port=metrics_port, drain_s=0.5, extproc_flags=(f"--activity={target}",)
        )
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(TakingService().at(target))
            gateway = await stack.enter_async_context(LocalGateway(settings))
            gateway.apply(Plan())
            await gateway.ready()
            stage = await stack.enter_async_context(set_stage(number, sellers, (gateway, metrics_port), parser))
            yield Scene(stage, service, target)


@pytest_asyncio.fixture(loop_scope="session")
async def told(number: int, sellers: Sellers, parser: Parser) -> AsyncIterator[Scene]:
    async with scene(number, sellers, parser) as ready:
        yield ready


async def test_two_turns_are_told_with_what_they_cost_and_where_they_could_have_gone(told: Scene) -> None:
    stage = await told.stage.serve("a", "b")
    first = await stage.ask(_OPENER, headers={"traceparent": _TRACE, "x-request-id": "chosen-by-the-client"})
    await stage.settle()
    await stage.ask(_OPENER, stream=True, headers={"traceparent": "none"})
    one, two = await told.records(2)
    assert (one.reason, two.reason, one.status) == ("first.scored", "sticky.hit", 200)
    assert one.provider == two.provider == stage.provider(first.seller)
    assert one.conversation == two.conversation != ""
    assert one.tenant != ""
    assert _NAME.fullmatch(one.id)
    assert one.id != two.id, "no client chooses it"
    assert abs(one.time_s - time.time()) < 60
    assert (one.streamed, two.streamed) == (False, True)
    assert (one.cached_tokens, one.cause, two.cause) == (0, "cold_start", "hit")
    assert two.cached_tokens
    assert two.paid_usd is not None
    assert two.uncached_usd is not None
    assert two.paid_usd < two.uncached_usd
    assert {each.provider for each in two.considered} == {stage.provider("a"), stage.provider("b")}
    here, there = two.considered
    assert here.warm_tokens
    assert (here.usd, there.warm_tokens) == (two.paid_usd, 0)
    assert there.usd is not None
    assert there.usd > two.paid_usd
    assert here.warm_until_s > two.time_s
    (attempt,) = two.attempts
    assert (attempt.outcome, attempt.status) == ("ok", 200)
    assert attempt.took_s is not None
    assert 0 < attempt.took_s <= two.duration_s
    assert two.first_byte_s is not None
    assert 0 < two.first_byte_s <= two.duration_s
    assert (one.traceparent, two.traceparent) == (_TRACE, "")
    assert (one.path, one.policy, one.gateway) == ("/v1/chat/completions", "default", "limpet-local")


async def test_the_path_is_that_of_the_api_wherever_the_provider_has_it(told: Scene) -> None:
    async with Upstream(every_api.anything) as upstream:
        stage = await told.stage.serve("e", specs={"e": {**every_api.SPEAKS, "url": upstream.url}})
        for path in ("/v1/messages?beta=true", "/anthropic/v1/messages", "/messages"):
            assert (await stage.post(every_api.body(stage.model), path=path)).status == 200
        records = await told.records(3)
        assert [got.target.partition("?")[0] for got in upstream.got] == ["/anthropic/v1/messages"] * 3
    assert [(each.api, each.path) for each in records] == [("AnthropicMessages", "/v1/messages")] * 3


async def test_attempts_that_failed_are_told_with_their_times(told: Scene) -> None:
    stage = await told.stage.serve("a", "b")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="status", status=503))
    await stage.ask(_OPENER)
    record = (await told.records(2))[-1]
    failed, served = record.attempts
    assert (failed.provider, failed.outcome, failed.status) == (stage.provider(first.seller), "failed", 503)
    assert (served.provider, served.outcome) == (record.provider, "ok")
    assert failed.begun_s is not None
    assert served.begun_s is not None
    assert 0 <= failed.begun_s <= served.begun_s <= record.duration_s
    assert failed.took_s == pytest.approx(served.begun_s - failed.begun_s)


async def test_refusals_and_the_gateways_own_answers_are_told_and_health_checks_are_not(told: Scene) -> None:
    stage = await told.stage.serve("a")
    health = (await stage.get("/healthz")).headers.get("x-limpet-decision")
    assert (health, (await stage.get("/v1/models")).status) == ("answered.health", 200)
    unknown = await stage.post({"model": "nobody/knows", "messages": [say("?")]}, headers={"traceparent": _TRACE})
    assert unknown.status == 404
    assert (await stage.post({}, path="/nowhere?key=secret-in-the-query")).status == 404

    def by_reason() -> dict[str, ActivityRecord]:
        return {each.reason: each for each in told.service.records}

    wanted = {"answered.models", "refused.unknown_model", "refused.unknown_path"}
    await until(lambda: by_reason().keys() >= wanted, f"{wanted}")
    assert "answered.health" not in by_reason()
    refused = by_reason()["refused.unknown_model"]
    assert (refused.status, refused.model, refused.error, refused.traceparent) == (404, "nobody/knows", "model", _TRACE)
    assert by_reason()["refused.unknown_path"].path == "/nowhere"


async def test_providers_are_told_and_told_again_when_one_goes_down(told: Scene) -> None:
    stage = await told.stage.serve("a", "b")

    def last() -> dict[str, ProviderReport]:
        found = [batch.providers for batch in told.service.batches if batch.providers]
        return {each.provider: each for each in found[-1]} if found else {}

    a = stage.provider("a")
    await until(lambda: a in last(), "a report")
    assert (last()[a].verdict, [each.input for each in last()[a].prices]) == ("up", [0.15, 0.15])
    await stage.sellers["a"].set_fault(Fault(kind="status", status=401))
    for number in range(20):  # each of another tenant, so of another conversation
        await stage.ask(_OPENER, key=f"tenant-{number}")
    await stage.out("a")
    await until(lambda: last()[a].verdict == "down", "the report that a is down")
    assert last()[a].cause == "CredentialRefused"


async def test_while_the_service_is_away_requests_are_answered_and_no_record_is_lost(
    number: int, sellers: Sellers, parser: Parser
) -> None:
    """200 requests a second for some seconds, and the service is gone in the middle of them."""
    rate, seconds, away = 200, 6, range(2, 4)
    async with scene(number, sellers, parser) as told:
        stage = await told.stage.serve("e")
        before = len(told.service.records)
        body = json.dumps({"model": stage.model, "messages": [say("Hello")]}).encode()
        headers = {"content-type": "application/json", "authorization": "Bearer me"}
        sent: list[asyncio.Task[int]] = []

        async def ask() -> int:
            async with stage.http.post(stage.base_url + "/chat/completions", data=body, headers=headers) as answer:
                await answer.read()
                return answer.status

        later = TakingService()
        async with AsyncExitStack() as stack:
            for second in range(seconds):
                if second == away.start:
                    await told.service.end()
                if second == away.stop:
                    await stack.enter_async_context(later.at(told.target))
                for _ in range(20):
                    sent += [asyncio.create_task(ask()) for _ in range(rate // 20)]
                    await asyncio.sleep(0.05)
            statuses = await asyncio.gather(*sent)
            assert set(statuses) == {200}

            def taken() -> list[str]:
                return [each.id for each in (*told.service.records[before:], *later.records) if each.provider]

            await until(lambda: len(set(taken())) >= rate * seconds, f"{rate * seconds} records")
            await asyncio.sleep(1.0)
            assert len(set(taken())) == rate * seconds
            assert later.records
            assert await stage.metric("limpet_activity_records_total", outcome="dropped") == 0


_MARKS = {name: f"MARKED-{name}-4f1d0c" for name in ("prompt", "answer", "key", "user", "header", "session")}


async def test_no_text_of_prompts_and_no_key_is_anywhere(told: Scene) -> None:
    stage = await told.stage.serve("a", "b")
    for path, body in _marked_bodies(stage.model):
        await stage.post(
            body,
            path=path,
            key=f"sk-{_MARKS['key']}",
            headers={
                "x-session-id": _MARKS["session"],
                "x-custom": _MARKS["header"],
                "traceparent": _MARKS["header"],
                "cookie": _MARKS["header"],
            },
        )
    await stage.sellers["a"].set_fault(Fault(kind="status", status=500))
    await stage.ask([say(_MARKS["prompt"] * 200, "system"), say(_MARKS["prompt"])], user=_MARKS["user"])
    await told.records(3)
    everything = {
        "records": b"".join(told.service.data),
        "metrics": (await stage.metrics_text()).encode(),
        "logs": b"".join(each.read_bytes() for each in sorted(stage.gateway.children.log_dir.glob("*.log"))),
    }
    assert len(everything["records"]) > 1000
    for where, data in everything.items():
        for name, mark in _MARKS.items():
            assert mark.encode() not in data, f"the marked {name} is in the {where}"


def _marked_bodies(model: str) -> list[tuple[str, Any]]:
    marked = [say(_MARKS["prompt"] * 100, "system"), say(_MARKS["prompt"])]
    talk = [*marked, say(_MARKS["answer"], "assistant"), say(_MARKS["prompt"])]
    chat = "/v1/chat/completions"
    return [
        (chat, {"model": model, "messages": talk, "user": _MARKS["user"], "stream": True}),
        (chat, {"model": model, "messages": marked, "metadata": {"user_id": _MARKS["user"]}}),
        (chat, {"model": model, "messages": marked, "provider": {"only": [_MARKS["user"]]}}),
        (chat, {"model": model, "messages": _MARKS["prompt"]}),
        (f"{chat}?api-key={_MARKS['key']}", {"model": model, "messages": marked}),
        ("/v1/messages", {"model": model, "max_tokens": 5, "messages": marked[1:]}),
        ("/v1/embeddings", {"model": model, "input": _MARKS["prompt"]}),
    ]
