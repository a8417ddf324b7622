"""Each attempt's body and headers are its provider's own: what of a request about caches and usage goes where."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.envoy.stage import Stage

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Seller, Sellers

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

FIVE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
CLAUDE = {"input": "1", "cacheRead": "0.1", "cacheWrite": "1.25", "output": "5"}
VERSION = {"anthropic-version": "2023-06-01"}


async def sent_to_both(
    stage: Stage, first: str, second: str, fields: dict[str, Any], path: str = "/v1/chat/completions"
) -> tuple[Any, Any]:
    """What providers of these vendors get of a request that the first one does not serve."""
    models = [{"name": stage.model, "upstreamName": "flash.b"}]
    await stage.serve("a", "b", specs={"a": {"vendor": first}, "b": {"vendor": second, "models": models}})
    await stage.sellers["a"].set_fault(Fault(kind="status", status=413, on="all"))
    order = {"provider": {"order": [stage.provider("a"), stage.provider("b")]}}
    answer = await stage.post({"model": stage.model, **fields, **order}, path=path)
    # The simulated seller refuses what OpenRouter takes.
    assert answer.status == (400 if second == "OpenRouter" else 200), answer.body
    assert stage.seller_of(answer.headers["x-limpet-provider"]) == "b"
    got = []
    for seller in "ab":
        arrival = (await stage.arrivals(seller))[-1]
        assert headers_of(arrival)["content-length"] == str(len(body_of(arrival)))
        got.append(json.loads(body_of(arrival)))
        assert got[-1].pop("model") == f"flash.{seller}"
    return got[0], got[1]


CHAT = {"messages": [say("Be brief.", "system"), say("Hello")]}


def marked(text: str, mark: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, "cache_control": mark}]}


MARKED = {"messages": [CHAT["messages"][0], marked("Hello", HOUR)]}


@pytest.mark.parametrize(
    ("first", "second", "sent_first", "sent_second"),
    [
        ("Alibaba", "DeepSeek", MARKED, CHAT),
        ("DeepSeek", "Alibaba", CHAT, MARKED),
        ("OpenRouter", "Alibaba", {**CHAT, "cache_control": HOUR}, MARKED),
        ("Alibaba", "OpenRouter", MARKED, {**CHAT, "cache_control": HOUR}),
    ],
)
async def test_a_breakpoint_stands_where_the_provider_reads_it(
    stage: Stage, first: str, second: str, sent_first: Any, sent_second: Any
) -> None:
    got = await sent_to_both(stage, first, second, {**CHAT, "cache_control": HOUR})
    for each in got:
        each.pop("provider", None)
    assert got == (sent_first, sent_second)


async def test_breakpoints_of_messages_stand_where_the_provider_reads_them(stage: Stage) -> None:
    fields = {"max_tokens": 9, "messages": [say("Hello")], "system": [marked("Be brief.", FIVE)["content"][0]]}
    body = {**fields, "cache_control": FIVE}
    got = await sent_to_both(stage, "Anthropic", "Moonshot", body, "/v1/messages")
    assert got == (body, {**fields, "messages": [marked("Hello", FIVE)]})


async def test_fields_about_the_cache_go_where_they_are_read(stage: Stage) -> None:
    body = {"prompt_cache_retention": "24h", **CHAT, "prompt_cache_options": {"ttl": "30m"}}
    assert await sent_to_both(stage, "OpenAI", "DeepSeek", body) == (body, CHAT)


async def test_a_key_of_the_conversation_goes_where_it_helps(stage: Stage) -> None:
    keys = []
    for text in ("Hello", "Hello", "Another"):
        first, second = await sent_to_both(stage, "Fireworks", "DeepSeek", {"messages": [say(text)]})
        keys.append(first.pop("prompt_cache_key"))
        assert first == second == {"messages": [say(text)]}
    assert keys[0] == keys[1] != keys[2]


async def test_a_clients_own_key_stays_wherever_it_goes(stage: Stage) -> None:
    body = {**CHAT, "prompt_cache_key": "mine"}
    assert await sent_to_both(stage, "Fireworks", "DeepSeek", body) == (body, body)


OPTIONS = [{}, *({"stream_options": each} for each in (None, {}, {"include_usage": True}))]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_a_stream_is_asked_for_usage_where_that_is_not_refused(stage: Stage, options: dict[str, Any]) -> None:
    body = {**CHAT, "stream": True, "prompt_cache_key": "k"}
    got = await sent_to_both(stage, "Mistral", "DeepSeek", {**body, **options})
    assert got == (body, {**body, "stream_options": {"include_usage": True}})


@pytest.mark.parametrize("vendor", ["DeepSeek", "Anthropic"], ids=["native", "translated"])
async def test_a_client_sees_no_usage_that_it_did_not_ask_for(stage: Stage, vendor: str) -> None:
    await stage.serve("b", specs={"b": {"vendor": vendor}})
    body = {"model": stage.model, **CHAT, "stream": True}
    plain = await stage.post(body)
    asked = await stage.post({**body, "stream_options": {"include_usage": True}})
    assert b'"prompt_tokens"' not in plain.body
    assert b'"prompt_tokens"' in asked.body
    assert plain.body.endswith(b"data: [DONE]\n\n")
    for arrival in await stage.arrivals("b"):
        sent = json.loads(body_of(arrival))
        assert sent["stream"] is True
        assert sent.get("stream_options") == ({"include_usage": True} if vendor == "DeepSeek" else None)


async def test_a_conversation_has_a_name_at_the_replicas_of_a_provider_that_takes_one(stage: Stage) -> None:
    names = []
    for text in ("Hello", "Hello", "Another"):
        await sent_to_both(stage, "Baseten", "XAI", {"messages": [say(text)], "prompt_cache_key": text})
        first, second = [headers_of((await stage.arrivals(seller))[-1]) for seller in "ab"]
        assert "x-grok-conv-id" not in first
        assert "x-session-affinity" not in second, "left by the first attempt"
        names.append((first["x-session-affinity"], second["x-grok-conv-id"]))
    assert names[0] == names[1] != names[2]
    assert all(len(each) == 32 for pair in names for each in pair)
    assert all(first != second for first, second in names), "two vendors cannot tell that it is the same conversation"


async def test_a_clients_own_name_of_a_conversation_is_not_overruled(stage: Stage) -> None:
    await stage.serve("a", "b", specs={"a": {"vendor": "XAI"}, "b": {"vendor": "DeepSeek"}})
    order = {"provider": {"order": [stage.provider("b"), stage.provider("a")]}}
    await stage.sellers["b"].set_fault(Fault(kind="status", status=413))
    body = {"model": stage.model, **CHAT, **order}
    assert (await stage.post(body, headers={"x-grok-conv-id": "mine"})).status == 200
    assert headers_of((await stage.arrivals("a"))[-1])["x-grok-conv-id"] == "mine"
    assert "x-grok-conv-id" not in headers_of((await stage.arrivals("b"))[-1])


@pytest.mark.parametrize("prices", [{"a": CLAUDE}, {"a": None}], ids=["a price", "no price"])
async def test_auto_marks_a_conversation_that_goes_on(stage: Stage, prices: dict[str, dict[str, str] | None]) -> None:
    specs = {"a": {"vendor": "Alibaba", "promptCaching": "Auto"}}
    await stage.serve("a", specs=specs, prices=prices)
    first = {"model": stage.model, "messages": [say(LONG)]}
    turn = {"model": stage.model, "messages": [say(LONG), say("Yes.", "assistant"), say("More")]}
    assert (await stage.post(first)).status == (await stage.post(turn)).status == 200
    one, two = [json.loads(body_of(arrival)) for arrival in await stage.arrivals("a")]
    assert one["messages"] == first["messages"], "a question without more to it may be the only one"
    assert two["messages"] == [*turn["messages"][:2], marked("More", FIVE)]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"vendor": "Anthropic"}, {"cache_control": FIVE}),
        ({"vendor": "Moonshot"}, {"cache_control": HOUR}),
        ({"vendor": "Anthropic", "promptCaching": "Auto"}, {}),
        ({"vendor": "Moonshot", "promptCaching": "Auto"}, {}),
    ],
    ids=["request", "last block", "auto", "auto at blocks"],
)
async def test_the_breakpoint_moves_on_with_the_conversation(
    stage: Stage, spec: dict[str, Any], fields: dict[str, Any]
) -> None:
    await stage.serve("a", specs={"a": spec}, prices={"a": CLAUDE})
    system = LONG * 4  # as long as an agent's
    turns: list[dict[str, Any]] = []
    read, decisions = [], []
    for turn in range(3):
        turns.append(say(f"{LONG} {turn}"))
        body = {"model": stage.model, "max_tokens": 20, "system": system, "messages": turns, **fields}
        answer = await stage.post(body, path="/v1/messages", headers=VERSION)
        assert answer.status == 200, answer.body
        read.append(answer.json["usage"]["cache_read_input_tokens"])
        decisions.append(answer.headers["x-limpet-decision"])
        turns.append({"role": "assistant", "content": answer.json["content"]})
        await stage.settle()
    assert 0 == read[0] < read[1] < read[2]
    assert decisions == ["first.scored", "sticky.hit", "sticky.hit"]


@pytest.mark.parametrize(
    ("caching", "fields"), [("Off", {"cache_control": FIVE}), ("Auto", {})], ids=["the client's", "auto"]
)
async def test_so_does_that_of_a_chat_that_is_translated(stage: Stage, caching: str, fields: dict[str, Any]) -> None:
    await stage.serve("a", specs={"a": {"vendor": "Anthropic", "promptCaching": caching}}, prices={"a": CLAUDE})
    turns = [say(LONG * 4, "system")]
    cached = []
    for turn in range(3):
        turns.append(say(f"{LONG} {turn}"))
        answer = await stage.post({"model": stage.model, "max_tokens": 20, "messages": turns, **fields})
        assert answer.status == 200, answer.body
        cached.append(answer.json["usage"]["prompt_tokens_details"]["cached_tokens"])
        turns.append(say(answer.json["choices"][0]["message"]["content"], "assistant"))
        await stage.settle()
    assert answer.headers["x-limpet-decision"] == "sticky.hit"
    assert 0 == cached[0] < cached[1] < cached[2]


@pytest_asyncio.fixture(loop_scope="session")
async def anthropic() -> AsyncIterator[Seller]:
    """One that caches only what is marked; the path is one that every vendor of this story has."""
    models = (SellerModel("claude"),)
    config = SellerConfig(name="anthropic", vendor="Anthropic", models=models, prefix="/anthropic/v1")
    async with Sellers.start([config]) as sellers:
        yield sellers["anthropic"]


@pytest.mark.parametrize(
    ("vendor", "caching", "chat"),
    [
        ("Anthropic", "Off", False),
        ("Anthropic", "Auto", False),
        ("Moonshot", "Off", False),
        ("Moonshot", "Auto", False),
        ("Anthropic", "Off", True),
        ("Anthropic", "Auto", True),
    ],
    ids=["request", "auto", "last block", "auto at blocks", "translated", "auto, translated"],
)
async def test_a_turn_with_more_results_than_are_looked_back_reads_the_cache(
    stage: Stage, anthropic: Seller, vendor: str, caching: str, chat: bool
) -> None:
    models = [{"name": stage.model, "upstreamName": "claude"}]
    spec = {"vendor": vendor, "url": anthropic.base_url, "models": models, "promptCaching": caching}
    await stage.serve("e", specs={"e": spec}, prices={"e": CLAUDE})
    fields: dict[str, Any] = {"model": stage.model, "max_tokens": 20}
    fields |= {} if caching == "Auto" else {"cache_control": FIVE}
    schema = {"type": "object", "properties": {}}
    tool = {"function": {"name": "look", "parameters": schema}, "type": "function"}
    fields |= {"tools": [tool]} if chat else {"tools": [{"name": "look", "input_schema": schema}], "system": LONG * 4}
    turns = [say(LONG * 4, "system")] if chat else []
    turns.append(say(LONG))
    cached = []
    for _ in range(3):
        body = {**fields, "messages": turns}
        answer = await (stage.post(body) if chat else stage.post(body, path="/v1/messages", headers=VERSION))
        assert answer.status == 200, answer.body
        usage = answer.json["usage"]
        cached.append(usage["prompt_tokens_details"]["cached_tokens"] if chat else usage["cache_read_input_tokens"])
        turns += called(chat, [f"call_{len(turns)}_{number}" for number in range(45)])
        await stage.settle()
    assert 0 == cached[0] < cached[1] < cached[2]


def called(chat: bool, ids: list[str]) -> list[dict[str, Any]]:
    """Tools that were called all at once, and what came of it."""
    if chat:
        calls = [{"id": each, "type": "function", "function": {"name": "look", "arguments": "{}"}} for each in ids]
        results = [{"role": "tool", "tool_call_id": each, "content": f"{each} is here"} for each in ids]
        return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]
    uses = [{"type": "tool_use", "id": each, "name": "look", "input": {}} for each in ids]
    blocks = [{"type": "tool_result", "tool_use_id": each, "content": f"{each} is here"} for each in ids]
    return [{"role": "assistant", "content": uses}, {"role": "user", "content": blocks}]


async def test_what_caches_only_what_is_marked_says_so(stage: Stage) -> None:
    await stage.serve("a", specs={"a": {"vendor": "Anthropic"}})
    body = {"model": stage.model, "max_tokens": 9, "messages": [say(LONG)]}
    answer = await stage.post(body, path="/v1/messages")
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "unsticky.no_breakpoint")
    answer = await stage.post({**body, "cache_control": FIVE}, path="/v1/messages")
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "first.scored")
