"""Mode sidecar: the application's own Envoy asks our workers, and sends requests to providers itself."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, big, body_of, headers_of, say
from tests.envoy.meshed import SidecarStage, meshed
from tests.envoy.stage import Raw
from tests.waiting import until

from limpet_lab.mesh.meshed_gateway import MeshedGateway
from limpet_lab.mesh.sidecar import WORKERS_CLUSTER
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("By sidecar")]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def by_sidecar(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshedGateway, int]]:
    async with meshed(tmp_path_factory.mktemp("sidecar")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    numbers: Iterator[int], sellers: Sellers, by_sidecar: tuple[MeshedGateway, int], parser: Parser
) -> AsyncIterator[SidecarStage]:
    for seller in sellers:
        await seller.reset()
    async with SidecarStage(next(numbers), sellers, by_sidecar[0], parser, by_sidecar[1]) as ready:
        yield ready


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_conversation_sticks_and_its_second_turn_is_read_from_the_cache(
    stage: SidecarStage, stream: bool
) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER, stream=stream)
    await stage.settle()
    second = await stage.ask([*_OPENER, say(first.text, "assistant"), say("And then?")], stream=stream)
    assert (first.decision, second.decision) == ("first.scored", "sticky.hit")
    assert first.seller == second.seller
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert second.usage.prompt_tokens_details.cached_tokens > 0
    assert await stage.sent(first.seller) == 2, "none of them went through the gateway"


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations("abcde", 2)))
async def test_each_provider_gets_its_own_name_path_and_key(stage: SidecarStage, one: str, other: str) -> None:
    await stage.serve(one, other)
    body: dict[str, Any] = {"messages": [say('"model":"x" first')], "model": stage.model}
    for seller in (one, other):
        answer = await stage.post({**body, "provider": {"only": [stage.provider(seller)]}})
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider(seller)), answer.body
    for seller, stranger in ((one, other), (other, one)):
        (arrival,) = await stage.arrivals(seller)
        assert await stage.sent(seller) == 1
        assert body_of(arrival) == json.dumps({**body, "model": f"flash.{seller}"}).encode()
        assert arrival.path == f"{stage.sellers[seller].config.prefix}/chat/completions"
        heard = headers_of(arrival)
        assert stage.key not in str(heard)
        assert f"key-of-{stranger}" not in str(heard)
        assert not [name for name in heard if name.startswith(("x-limpet-", "x-envoy-", "x-forwarded-"))]


async def test_a_client_cannot_choose_a_cluster(stage: SidecarStage) -> None:
    await stage.serve("a", "b")
    names = [f"outbound|80||{stage.provider(name)}.default.providers.limpet.internal" for name in "ab"]
    for target in (*names, *map(stage.provider, "ab"), WORKERS_CLUSTER):
        for spoofed in ({"x-limpet-cluster": target}, {"X-Limpet-Cluster": target, "x-limpet-debug": "explain"}):
            only = {"provider": {"only": [stage.provider("b")]}}
            answer = await stage.post({"model": stage.model, "messages": _OPENER, **only}, headers=spoofed)
            assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
            undecided = await stage.post(b"{}", path="/v1/nothing", headers=spoofed)
            assert undecided.status == 404
            assert undecided.headers["x-limpet-decision"].startswith("refused.")
            async with stage.http.get(stage.base_url + "/models", headers=spoofed) as models:
                assert models.headers["x-limpet-decision"] == "answered.models"
    assert await stage.arrivals("a") == []


async def test_a_client_that_calls_a_cluster_by_its_host_gets_neither_an_answer_nor_the_key(
    stage: SidecarStage,
) -> None:
    await stage.serve("a", "b")
    host = f"{stage.provider('a')}.default.providers.limpet.internal"
    question = {"model": stage.model, "messages": _OPENER}
    for spoofed in ({}, {"x-envoy-attempt-count": "2"}, {"x-limpet-attempt": "1 HEAD", "accept": "text/html"}):
        for path in ("/v1/chat/completions", "/", "/v1/messages"):
            answer = await stage.post(question, path=path, headers={"host": host, **spoofed})
            assert answer.status == 500
            assert "key-of-a" not in str((answer.headers, answer.body))
    assert await stage.arrivals("a") == []


async def test_a_wrong_request_is_explained(stage: SidecarStage) -> None:
    await stage.serve("a")
    answer = await stage.post({"model": "none", "messages": _OPENER})
    assert (answer.status, answer.json["error"]["param"]) == (404, "model")


async def test_a_failing_provider_is_left_by_the_next_request(stage: SidecarStage) -> None:
    await stage.serve("a", "b")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="status", status=500))

    async def moved() -> bool:
        try:
            return (await stage.ask(_OPENER)).seller != first.seller
        except openai.InternalServerError:
            return False

    await until(moved, "the conversation to move")
    assert await stage.sent("b" if first.seller == "a" else "a") >= 1


async def test_a_large_body_passes(stage: SidecarStage) -> None:
    await stage.serve("b")
    body = json.dumps({"messages": [big(20 << 20)], "model": stage.model}).encode()
    assert (await stage.post(body)).status == 200
    assert body_of((await stage.arrivals("b"))[0]) == body.replace(stage.model.encode(), b"flash.b")
    assert await stage.sent("b") == 1


async def test_a_key_that_is_replaced_reaches_the_sidecar(stage: SidecarStage) -> None:
    await stage.serve("a", "b")
    objects = stage.objects(["a", "b"], {}, {})
    (secret,) = [
        each for each in objects if each["kind"] == "Secret" and each["metadata"]["name"] == stage.provider("a")
    ]
    secret["stringData"] = {"k": "new-key-of-a"}
    stage.gateway.apply(stage.planned(objects, {}))
    question = {"model": stage.model, "messages": _OPENER, "provider": {"only": [stage.provider("a")]}}

    async def arrived() -> bool:
        assert (await stage.post(question)).status == 200
        return headers_of((await stage.arrivals("a"))[-1])["authorization"] == "Bearer new-key-of-a"

    await until(arrived, "the new key")
    assert len(await stage.arrivals("a")) == await stage.sent("a")


async def test_providers_come_change_and_go_under_load(stage: SidecarStage) -> None:
    await stage.serve("a", "b")
    served: list[Raw] = []
    ended = asyncio.Event()

    async def ask(number: int) -> None:
        while not ended.is_set():
            question = [say(LONG, "system"), say(f"{number}.{len(served)}")]
            served.append(await stage.post({"model": stage.model, "messages": question}))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(ask(number))
        for sellers in ("abc", "bc", "abcd", "bd", "ab"):
            await stage.serve(*sellers)
        await stage.serve("a", "b", specs={"a": {"vendor": "Custom"}})
        ended.set()
    assert len(served) > 20
    assert [(each.status, each.headers, each.body) for each in served if each.status != 200] == []
    assert sum([await stage.sent(seller) for seller in "ab"]) > 0
