"""Clients that ask why: what the gateway says it would do, without doing it, and what it says beside an answer."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.envoy.cast import LONG, TIDE, say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.stage import Raw, Stage

from limpet_extproc.contract.explanation import Explanation, decode
from limpet_lab.explain.asked import asked_request
from limpet_lab.explain.gateway import explain_running
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

ALONE, BESIDE = {"x-limpet-debug": "explain-only"}, {"x-limpet-debug": "explain"}
SECRETLY = "marked-session-name-4711"


def body(stage: Stage, **fields: Any) -> dict[str, Any]:
    return {"model": stage.model, "messages": [say(LONG, "system"), say(TIDE)], "max_tokens": 50, **fields}


def alone(answer: Raw) -> Explanation:
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "answered.explained"), answer.body
    assert answer.headers["content-type"] == "application/json"
    return decode(answer.body)


async def test_what_would_be_done_is_explained_and_not_done(stage: Stage) -> None:
    await stage.serve("a", "b", prices={"b": {"input": "9", "cacheRead": "0.9", "output": "9"}})
    for _ in range(2):
        found = alone(await stage.post(body(stage), headers=ALONE))
        assert (found.reason, found.order) == ("first.scored", (stage.provider("a"), stage.provider("b")))
        assert found.memory is None, "nothing of it is remembered"
    first, second = found.candidates
    assert (first.place, second.place) == (1, 2)
    assert first.score is not None
    assert second.score is not None
    assert 0 < first.score < second.score
    assert first.request_usd == pytest.approx(
        first.uncached_usd + first.read_usd + first.write_usd + first.output_usd, abs=1e-9
    )
    assert first.edits is not None
    assert first.edits.model == "flash.a"
    assert [await stage.arrivals(each) for each in "ab"] == [[], []]
    assert await stage.metric("limpet_decisions_total", reason="answered.explained") >= 2


async def test_a_running_gateway_explains_by_what_it_remembers(stage: Stage) -> None:
    await stage.serve("a", "b")
    sent = body(stage, session_id=SECRETLY)
    served = await stage.post(sent)
    await stage.settle()
    home = served.headers["x-limpet-provider"]
    answer = await stage.post(sent, headers=ALONE)
    found = alone(answer)
    assert (found.reason, found.order[0]) == ("sticky.hit", home)
    assert found.identity is not None
    assert found.identity.identified_by == "session_id"
    assert found.memory is not None
    assert [each.provider for each in found.memory.places] == [home]
    assert found.memory.turns == 1
    assert found.candidates[0].warm_tokens > 0
    assert found.candidates[0].read_usd > 0
    assert found.keeping is not None
    assert found.keeping.provider == home
    for secret in (SECRETLY, stage.key, TIDE, stage.sellers["a"].base_url, stage.sellers["b"].base_url):
        assert secret.encode() not in answer.body


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_carries_its_explanation(stage: Stage, stream: bool) -> None:
    await stage.serve("a", "b")
    answer = await stage.post(body(stage, stream=stream), headers=BESIDE)
    assert answer.status == 200
    found = decode(answer.headers["x-limpet-explain"])
    assert (found.reason, found.order[0]) == (answer.headers["x-limpet-decision"], answer.headers["x-limpet-provider"])
    seller = stage.seller_of(answer.headers["x-limpet-provider"])
    (arrival,) = await stage.arrivals(seller)
    assert not [name for name, _ in arrival.headers if "limpet" in name.lower()]


async def test_nobody_is_told_unasked(stage: Stage) -> None:
    await stage.serve("a")
    answer = await stage.post(body(stage), headers={"limpet-debug": "explain", "x-limpet-explain": "{}"})
    assert answer.status == 200
    assert "x-limpet-explain" not in answer.headers


async def test_a_clients_key_shows_no_other_clients_memory(stage: Stage) -> None:
    await stage.serve("a")
    sent = body(stage, session_id=SECRETLY)
    await stage.post(sent, headers={"authorization": "Bearer one"})
    await stage.settle()
    mine = alone(await stage.post(sent, headers={"authorization": "Bearer one", **ALONE}))
    other = alone(await stage.post(sent, headers={"authorization": "Bearer two", **ALONE}))
    assert (mine.reason, other.reason) == ("sticky.hit", "first.scored")
    assert mine.identity != other.identity
    assert other.memory is None


async def test_what_would_be_refused_is_explained(stage: Stage) -> None:
    await stage.serve("a", "b")
    unknown = alone(await stage.post(body(stage, model="flesh"), headers=ALONE))
    assert unknown.refused is not None
    assert (unknown.reason, unknown.refused.status) == ("refused.unknown_model", 404)
    nobody = alone(await stage.post(body(stage, provider={"only": ["x"]}), headers=ALONE))
    assert nobody.refused is not None
    assert {each.passed_over for each in nobody.candidates} == {"not_in_only"}
    broken = alone(await stage.post(b"{", headers=ALONE))
    assert broken.reason == "refused.bad_request"


async def test_a_word_that_is_not_known_is_refused(stage: Stage) -> None:
    await stage.serve("a")
    answer = await stage.post(body(stage), headers={"x-limpet-debug": "verbose"})
    assert (answer.status, answer.headers["x-limpet-decision"]) == (400, "refused.bad_request")
    assert "'explain' or 'explain-only'" in answer.json["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_every_api_is_explained(stage: Stage, path: str) -> None:
    await stage.serve("a")
    found = alone(await stage.post(body(stage), path=path, headers=ALONE))
    assert await stage.arrivals("a") == []
    assert found.api == {"/v1/responses": "OpenAIResponses", "/v1/messages": "AnthropicMessages"}[path]


async def test_in_header_mode_what_would_be_done_is_explained_too(header_stage: Stage) -> None:
    await header_stage.serve("a")
    found = alone(await header_stage.post(body(header_stage), headers=ALONE))
    assert found.order == (header_stage.provider("a"),)
    assert await header_stage.arrivals("a") == []


async def test_who_may_not_ask_is_answered_as_ever_or_refused(number: int, sellers: Sellers, parser: Parser) -> None:
    async with (
        running_gateway(header_mode=False, host="0.0.0.0") as running,
        set_stage(number, sellers, running, parser) as stage,
    ):
        await stage.serve("a")
        beside = await stage.post(body(stage), headers=BESIDE)
        assert beside.status == 200
        assert "x-limpet-explain" not in beside.headers
        refused = await stage.post(body(stage), headers=ALONE)
        assert (refused.status, refused.headers["x-limpet-decision"]) == (403, "refused.debug")
        assert refused.json["error"]["code"] == "debug_not_allowed"
        in_messages = await stage.post(body(stage), path="/v1/messages", headers=ALONE)
        assert in_messages.json["error"]["type"] == "permission_error"
        assert len(await stage.arrivals("a")) == 1


async def test_the_command_asks_a_running_gateway(stage: Stage, tmp_path: Path) -> None:
    await stage.serve("a")
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body(stage)))
    served = await stage.post(body(stage))
    assert served.status == 200
    await stage.settle()
    asked = asked_request(file, "/v1/chat/completions", [], stage.key)
    for url in (stage.origin, stage.base_url):
        told = await asyncio.to_thread(explain_running, asked, url)
        assert (told.reason, told.order) == ("sticky.hit", (stage.provider("a"),))
    assert len(await stage.arrivals("a")) == 1
