"""Header mode, for Envoys without the priority-group specifier: the same decision, told by an upstream header."""

import json
from typing import Any

import openai
import pytest
from tests.envoy.cast import LONG, PLAIN, big, body_of, headers_of, say
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("By header")]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_conversation_sticks(header_stage: Stage, stream: bool) -> None:
    stage = header_stage
    await stage.serve("a", "b", "c")
    answers = []
    for _ in range(3):
        answers.append(await stage.ask(_OPENER, stream=stream))
        await stage.settle()
    assert len({answer.seller for answer in answers}) == 1
    assert [answer.decision for answer in answers] == ["first.scored", "sticky.hit", "sticky.hit"]
    others = {(await stage.ask([say(LONG, "system"), say(f"Chat {n}")])).seller for n in range(20)}
    assert others == {"a", "b", "c"}


@pytest.mark.parametrize("header", ["x-session-id", "x-claude-code-session-id"])
async def test_a_session_header_names_the_conversation(header_stage: Stage, header: str) -> None:
    stage = header_stage
    await stage.serve("a", "b", "c")
    await stage.ask(_OPENER, headers={header: "one"})
    await stage.settle()
    answer = await stage.ask([say(LONG, "system"), say("Other words")], headers={header: "one"})
    assert answer.decision == "sticky.hit"


async def test_a_client_cannot_choose_a_cluster(header_stage: Stage) -> None:
    stage = header_stage
    await stage.serve("a", "b", "c")
    for target in (stage.provider("a"), stage.provider("b"), stage.provider("c"), "limpet_extproc", "nowhere"):
        spoofed = {"x-limpet-cluster": target, "X-LIMPET-CLUSTER": target}
        answer = await stage.ask(_OPENER, headers=spoofed, extra={"provider": {"only": [stage.provider("b")]}})
        assert answer.seller == "b"
        models = await stage.http.get(stage.base_url + "/models", headers=spoofed)
        assert models.status == 200
        assert {each["id"] for each in (await models.json())["data"]} == {stage.model, PLAIN}
    for arrival in await stage.arrivals("b"):
        assert not [name for name in headers_of(arrival) if name.startswith(("x-limpet-", "x-envoy-", "x-forwarded-"))]


@pytest.mark.parametrize("seller", ["a", "b", "c", "d", "e"])
async def test_each_provider_gets_its_own_name_path_and_key(header_stage: Stage, seller: str) -> None:
    stage = header_stage
    await stage.serve("a", "b", "c", "d", "e")
    body: dict[str, Any] = {"messages": [say('"model":"x" first')], "model": stage.model}
    steering = {"provider": {"only": [stage.provider(seller)]}, "session_id": "s"}
    answer = await stage.post({**body, **steering})
    assert answer.status == 200, answer.body
    (arrival,) = await stage.arrivals(seller)
    assert body_of(arrival) == json.dumps({**body, "model": f"flash.{seller}"}).encode()
    assert arrival.path == f"{stage.sellers[seller].config.prefix}/chat/completions"
    assert stage.key not in str(arrival.headers)


async def test_an_untouched_body_stays_untouched(header_stage: Stage) -> None:
    stage = header_stage
    await stage.serve("a")
    body = b' { "messages" :[{"content":"\\u00e9 \xf0\x9f\x90\x9a", "role":"user"}],\n"model":"plain"} '
    assert (await stage.post(body)).status == 200
    assert body_of((await stage.arrivals("a"))[0]) == body


async def test_a_failing_provider_is_left_by_the_next_request(header_stage: Stage) -> None:
    stage = header_stage
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


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"model":"plain","messages":[]}', 400, "messages"),
        (b'{"model":"none","messages":[{"role":"user","content":"Hi"}]}', 404, "model"),
        (b'{"model":"plain","messages":[{"role":"user","content":"Hi"}],"provider":1}', 400, "provider"),
    ],
)
async def test_a_wrong_request_is_explained(header_stage: Stage, body: bytes, status: int, param: str | None) -> None:
    stage = header_stage
    await stage.serve("a")
    answer = await stage.post(body)
    assert (answer.status, answer.json["error"]["param"]) == (status, param)
    assert (await stage.ask("Still alive?")).text


async def test_a_big_body_passes(header_stage: Stage) -> None:
    stage = header_stage
    await stage.serve("b")
    body = json.dumps({"messages": [big(20 << 20)], "model": stage.model}).encode()
    assert (await stage.post(body)).status == 200
    assert body_of((await stage.arrivals("b"))[0]) == body.replace(stage.model.encode(), b"flash.b")
