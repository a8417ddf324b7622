"""What clients send and what providers are paid with is written down nowhere, whatever becomes of a request."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, say, seller_configs
from tests.envoy.guarded import LAPTOP, ROBOT, secret
from tests.envoy.marks import MARKS, found_in
from tests.envoy.stage import Raw
from tests.envoy.whole_stack import WholeStack, whole_stack
from tests.waiting import until

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_KEY: Final = MARKS["client key"]
_APIS: Final = {
    "dialects": ["OpenAIChat", "OpenAIResponses", "AnthropicMessages"],
    "endpoints": ["embeddings", "files"],
}
_SPECS: Final = dict.fromkeys("ab", _APIS)
_CHAT: Final = "/v1/chat/completions"
_NAMELESS: Final = frozenset(
    {
        *("metadata of spans", "log of Envoy", "log of the activity service", "log of the operator", "command lines"),
        *("Redis", "metrics of the activity service", "metrics of the operator"),
    }
)
"""Places that need not name a provider."""
_HEADERS: Final = {
    "x-session-id": MARKS["session"],
    "x-custom": MARKS["header"],
    "traceparent": MARKS["header"],
    "tracestate": MARKS["header"],
    "baggage": MARKS["header"],
    "cookie": f"session={MARKS['cookie']}",
    "user-agent": MARKS["header"],
    "x-request-id": MARKS["header"],
    "x-forwarded-user": MARKS["user"],
}


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("before", range(4))
async def test_a_mark_is_found_in_whichever_form(name: str, before: int) -> None:
    text = b"\xff" * before + MARKS[name].encode() + b"\xff" * (4 - before)
    kept = [text, b64encode(text), urlsafe_b64encode(text), text.hex().encode(), text.hex().upper().encode()]
    kept += [quote(MARKS[name]).encode(), json.dumps({"text": MARKS[name]}).encode()]
    assert [found_in(b"x" + each + b"x") for each in kept] == [[name]] * len(kept)
    assert found_in(text[:-5] + b"x" + text[-5:]) == []


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def marked_sellers() -> AsyncIterator[Sellers]:
    """Two whose accounts have marked keys."""
    keys = {"a": MARKS["provider credential"], "b": MARKS["other provider's credential"]}
    configs = [msgspec.structs.replace(each, api_keys=(keys[each.name],)) for each in seller_configs()[:2]]
    async with Sellers.start(configs) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", params=["Redis", "files"])
async def stack(
    number: int, marked_sellers: Sellers, parser: Parser, request: pytest.FixtureRequest
) -> AsyncIterator[WholeStack]:
    for seller in marked_sellers:
        await seller.reset()
    async with whole_stack(number, marked_sellers, parser, request.param) as running:
        yield running


async def serve(stack: WholeStack, **clients: str) -> None:
    """Both sellers for these clients, the first of whom the stage is."""
    stage, first = stack.story.stage, next(iter(clients.values()))
    stage.key = first.removeprefix("{key: ").partition(",")[0]
    stage.gateway.apply(stage.planned([*stage.objects("ab", _SPECS, {}), secret(**clients)], {}))

    async def in_force() -> bool:
        return await stage.announced() == {stage.provider(each) for each in "ab"}

    await until(in_force, "both sellers")


def talk(**fields: Any) -> dict[str, Any]:
    """A second turn with a mark in every part."""
    tool = {"type": "function", "function": {"name": MARKS["tool"], "parameters": {"type": "object"}}}
    return {
        "messages": [
            say(f"{MARKS['system prompt']} {LONG}", "system"),
            say(MARKS["prompt"]),
            say(MARKS["answer of an earlier turn"], "assistant"),
            say(f"Again: {MARKS['prompt']}"),
        ],
        "tools": [tool],
        "user": MARKS["user"],
        **fields,
    }


async def send(stack: WholeStack, body: Mapping[str, Any] | bytes, path: str = _CHAT, **headers: str) -> Raw:
    """With all marks in its headers; explanations are kept."""
    if not isinstance(body, bytes):
        body = {"model": stack.story.stage.model, **body}
    sent = {**_HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer = await stack.story.stage.post(body, path=path, headers=sent)
    stack.answers.append(answer.headers.get("x-limpet-explain", "").encode())
    if answer.headers.get("x-limpet-decision") == "answered.explained":
        stack.answers.append(answer.body)
    return answer


async def served(stack: WholeStack) -> None:
    """What providers answer, by every API, whole and streamed."""
    anthropic = {"system": f"{MARKS['system prompt']} {LONG}", "messages": [say(MARKS["prompt"])], "max_tokens": 9}
    for path, body in (
        (_CHAT, talk()),
        (_CHAT, talk(stream=True)),
        (_CHAT, {"messages": [say(MARKS["prompt"])], "session_id": MARKS["session"]}),
        (f"{_CHAT}?api-key={MARKS['query']}&key={MARKS['foreign key']}", talk()),
        ("/v1/messages", {**anthropic, "metadata": {"user_id": MARKS["user"]}}),
        ("/v1/messages", {**anthropic, "stream": True}),
        ("/v1/responses", {"input": f"{MARKS['prompt']} {LONG}", "instructions": MARKS["system prompt"]}),
    ):
        answer = await send(stack, body, path, x_limpet_debug="explain", anthropic_version="2023-06-01")
        assert answer.status == 200, (path, answer.body)
    assert any(stack.answers)
    await send(stack, {"input": MARKS["prompt"], "user": MARKS["user"]}, "/v1/embeddings")
    assert (await send(stack, talk(), x_limpet_debug="explain-only")).status == 200


async def refused(stack: WholeStack) -> None:
    """What the gateway itself refuses."""
    model = stack.story.stage.model
    odd = json.dumps({"model": model, **talk()}).encode()
    for body, path, headers, status in (
        (talk(model="nobody/knows"), _CHAT, {}, 404),
        (talk(provider={"only": ["nobody"]}), _CHAT, {}, 400),
        (talk(messages=MARKS["prompt"]), _CHAT, {}, 400),
        (odd[:-1], _CHAT, {}, 400),
        (odd + MARKS["prompt"].encode(), _CHAT, {}, 400),
        (talk(), f"/v1/nowhere/{MARKS['foreign key']}?key={MARKS['query']}", {}, 404),
        (talk(), _CHAT, {"authorization": f"Bearer {MARKS['wrong key']}"}, 401),
        (talk(), _CHAT, {"authorization": "", "x_api_key": MARKS["foreign key"]}, 401),
        (talk(), _CHAT, {"x_limpet_debug": MARKS["header"]}, 400),
        (talk(), _CHAT, {"x_limpet_debug": "explain-only", "authorization": f"Bearer {ROBOT}"}, 403),
    ):
        answer = await send(stack, body, path, **headers)
        assert answer.status == status, (path, answer.status, answer.body)


async def failed(stack: WholeStack) -> None:
    """What goes to the other provider, and what nobody serves; the errors repeat the prompt, and name the account."""
    sellers = stack.story.stage.sellers
    told = {"message": f"{MARKS['error of a provider']}: {MARKS['prompt']}", "code": MARKS["header"]}
    fault = Fault(kind="status", status=503, body={"error": {**told, "param": MARKS["provider credential"]}})
    home = stack.story.stage.seller_of((await send(stack, talk())).headers["x-limpet-provider"])
    await sellers[home].set_fault(fault)
    over = await send(stack, talk(), x_limpet_debug="explain")
    assert over.status == 200, over.body
    assert stack.story.stage.seller_of(over.headers["x-limpet-provider"]) != home
    for seller in sellers:
        await seller.set_fault(msgspec.structs.replace(fault, status=400))
    assert (await send(stack, talk())).status == 400
    for kind in (fault, Fault(kind="reset_within_headers"), Fault(kind="status", status=401, body="")):
        for seller in sellers:
            await seller.set_fault(kind)
        assert (await send(stack, talk())).status >= 500
    for seller in sellers:
        await seller.set_fault(Fault(kind="reset_within_body", after_pieces=1))
    with pytest.raises(aiohttp.ClientPayloadError):
        await send(stack, talk(stream=True))


async def test_nothing_of_it_is_anywhere(stack: WholeStack) -> None:
    await serve(stack, laptop=f"{{key: {_KEY}, debug: true}}", robot=ROBOT)
    await served(stack)
    await refused(stack)
    await failed(stack)
    stage = stack.story.stage
    wanted = {"refused.unknown_model", "refused.unknown_path", "refused.unauthorized", "answered.explained"}

    async def told() -> bool:
        records = await stack.records()
        outcomes = {outcome for each in records for outcome in (each["reason"], each["status"])}
        return wanted | {200, 400, 503} <= outcomes and any(each["streamed"] for each in records)

    await until(told, "a record of each")
    await until(lambda: len(stack.collector.spans()) > 20, "spans")
    everything = await stack.everything()
    names = (stage.provider("a").encode(), stage.provider("b").encode())
    for where, data in everything.items():
        if where not in _NAMELESS:
            assert any(each in data for each in names), f"nothing is in the {where}"
        assert data or where == "log of Envoy", f"nothing is in the {where}"
    leaks = {where: found for where, data in everything.items() if (found := found_in(data))}
    assert leaks == {}
    arrived = b"".join([msgspec.json.encode(each) for name in "ab" for each in await stage.arrivals(name)])
    assert set(found_in(arrived)) >= {"prompt", "user", "tool", "provider credential", "other provider's credential"}
    assert not {"client key", "wrong key"} & set(found_in(arrived))


async def test_two_clients_with_one_conversation_share_no_place_no_record_and_no_object(stack: WholeStack) -> None:
    await serve(stack, laptop=f"{{key: {LAPTOP}, debug: true}}", robot=f"{{key: {ROBOT}, debug: true}}")
    session = {"x-claude-code-session-id": "one-harness", "x-session-id": "one-session"}
    same = {"messages": [say(LONG, "system"), say("The same")], "user": "one-user", "session_id": "one-session"}
    stage = stack.story.stage

    async def turn(key: str, path: str = _CHAT, **more: Any) -> Raw:
        body = {"model": stage.model, **(same if path == _CHAT else {"input": LONG}), **more}
        answer = await stage.post(body, path=path, key=key, headers={**session, "x-limpet-debug": "explain"})
        await stage.settle()
        return answer

    first = await turn(LAPTOP)
    assert (await turn(LAPTOP)).headers["x-limpet-decision"] == "sticky.hit"
    stranger = await turn(ROBOT)
    assert stranger.headers["x-limpet-decision"] == "first.scored"
    told = json.loads(stranger.headers["x-limpet-explain"])
    assert "memory" not in told
    assert not any("warm_tokens" in each for each in told["candidates"])
    mine = json.loads(first.headers["x-limpet-explain"])["identity"]
    theirs = told["identity"]
    assert mine["key"] != theirs["key"]
    assert mine["tenant"] != theirs["tenant"]

    made = (await turn(LAPTOP, "/v1/responses")).json["id"]
    refused = await turn(ROBOT, "/v1/responses", previous_response_id=made)
    assert (refused.status, refused.headers["x-limpet-decision"]) == (400, "refused.object_gone")
    assert (await turn(LAPTOP, "/v1/responses", previous_response_id=made)).status == 200

    async def all_told() -> bool:
        return sum(each["client"] in ("laptop", "robot") for each in await stack.records()) >= 5

    await until(all_told, "their records")
    for name, of in (("laptop", mine), ("robot", theirs)):
        found = json.loads(await stack.asked(f"/api/activity?limit=200&tenant={name}"))["records"]
        assert {each["client"] for each in found} == {name}
        strip = json.loads(await stack.asked(f"/api/conversations/{of['key']}"))
        assert {each["client"] for each in strip["turns"]} == {name}
