"""Chat completions by OpenAI's SDK, at a provider of each dialect."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from tests.envoy.cast import LONG, say
from tests.envoy.sdk.asked import CALLED, PDF, PIXEL, Home
from tests.envoy.sdk.gate import CHAT, MODEL, ROCK, Gate
from tests.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

at_each = pytest.mark.parametrize("seller", CHAT)

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


def at(seller: str) -> dict[str, Any]:
    """Goes into `extra_body`: this provider and no other."""
    return {"provider": {"order": [seller], "allow_fallbacks": False}}


def parts(*more: dict[str, Any]) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *more]}]


@at_each
async def test_create(of_openai: AsyncOpenAI, gate: Gate, seller: str) -> None:
    answer = await of_openai.chat.completions.create(
        model=MODEL, messages=[say(LONG, "system"), say("Where is home?")], extra_body=at(seller)
    )
    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("chat.completion", MODEL, "stop")
    assert answer.choices[0].message.content
    (row,) = await gate.rows(seller)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (row.prompt, row.output)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


@at_each
async def test_stream_with_usage(of_openai: AsyncOpenAI, gate: Gate, seller: str) -> None:
    stream = await of_openai.chat.completions.create(
        model=MODEL,
        messages=[say("Where is home?")],
        stream=True,
        stream_options={"include_usage": True},
        extra_body=at(seller),
    )
    chunks = [chunk async for chunk in stream]
    (row,) = await gate.rows(seller)
    assert row.stream
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (row.prompt, row.output)


@at_each
async def test_stream_without_usage(of_openai: AsyncOpenAI, gate: Gate, seller: str) -> None:
    stream = await of_openai.chat.completions.create(
        model=MODEL, messages=[say("Where is home?")], stream=True, extra_body=at(seller)
    )
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@at_each
async def test_tools(of_openai: AsyncOpenAI, seller: str, stream: bool) -> None:
    asked: Any = {
        "model": MODEL,
        "messages": [say("Rain?")],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "extra_body": at(seller),
    }
    if stream:
        async with of_openai.chat.completions.stream(**asked) as events:
            answer: Any = await events.get_final_completion()
    else:
        answer = await of_openai.chat.completions.create(**asked)
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == CALLED
    messages = [*asked["messages"], choice.message.to_dict(exclude_none=True)]
    messages[-1].pop("parsed", None)
    messages[-1]["tool_calls"] = [
        {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.function.arguments}}
    ]
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "wet"})
    after = await of_openai.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], extra_body=at(seller)
    )
    assert after.choices[0].message.content


@at_each
async def test_images(of_openai: AsyncOpenAI, gate: Gate, seller: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    answer = await of_openai.chat.completions.create(model=MODEL, messages=parts(image), extra_body=at(seller))
    assert answer.choices[0].message.content
    assert (await gate.sellers[seller].ledger()).totals.prompt > 256


@at_each
async def test_files(of_openai: AsyncOpenAI, gate: Gate, seller: str) -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    answer = await of_openai.chat.completions.create(model=MODEL, messages=parts(file), extra_body=at(seller))
    assert answer.choices[0].message.content
    assert (await gate.sellers[seller].ledger()).totals.prompt > 256


@at_each
async def test_parse(of_openai: AsyncOpenAI, seller: str) -> None:
    answer = await of_openai.chat.completions.parse(
        model=MODEL, messages=[say("Where?")], response_format=Home, extra_body=at(seller)
    )
    assert answer.choices[0].message.parsed == Home(name="sample", rocks=1)


@at_each
async def test_reasoning(of_openai: AsyncOpenAI, gate: Gate, seller: str) -> None:
    answer = await of_openai.chat.completions.create(
        model=MODEL,
        messages=[say("Be brief.", "developer"), say("Think.")],
        reasoning_effort="low",
        max_completion_tokens=4000,
        extra_body=at(seller),
    )
    assert answer.choices[0].message.content
    (row,) = await gate.rows(seller)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == row.output


async def turns(
    sdk: AsyncOpenAI, opener: str, *, stream: bool = False, model: str = MODEL, **fields: Any
) -> tuple[list[str], list[int]]:
    """Three of a conversation: why each went where it did, and what it found in the cache there."""
    messages = [say(LONG, "system"), say(opener)]
    decisions, cached = [], []
    asked: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    for _ in range(3):
        raw: Any = await sdk.chat.completions.with_raw_response.create(
            model=model, messages=messages, **asked, extra_body=fields
        )
        if stream:
            chunks = [chunk async for chunk in raw.parse()]
            text, usage = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks[-1].usage
        else:
            text, usage = raw.parse().choices[0].message.content, raw.parse().usage
        decisions.append(raw.headers["x-limpet-decision"])
        cached.append(usage.prompt_tokens_details.cached_tokens)
        messages += [say(text, "assistant"), say("And then?")]
    return decisions, cached


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_multi_turn(of_openai: AsyncOpenAI, stream: bool) -> None:
    decisions, cached = await turns(of_openai, f"Turns, {stream}", stream=stream, model=ROCK)
    assert decisions[0].startswith("first.")
    assert all(decision.startswith("sticky.") for decision in decisions[1:]), decisions
    assert [tokens > 1000 for tokens in cached] == [False, True, True]


@pytest.mark.parametrize("number", range(4))
async def test_cache_control(of_openai: AsyncOpenAI, number: int) -> None:
    decisions, cached = await turns(of_openai, f"Marked, {number}", cache_control={"type": "ephemeral"})
    assert all(decision.startswith("sticky.") for decision in decisions[1:]), decisions
    assert [tokens > 1000 for tokens in cached] == [False, True, True]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_cache_control_translated(of_openai: AsyncOpenAI, gate: Gate, stream: bool) -> None:
    marked = {"cache_control": {"type": "ephemeral"}, **at("claude")}
    _, cached = await turns(of_openai, f"Marked, {stream}", stream=stream, **marked)
    assert cached == [row.cached for row in await gate.rows("claude", 3)]
    assert [tokens > 1000 for tokens in cached] == [False, True, True]


async def test_parallel_requests(of_openai: AsyncOpenAI, gate: Gate) -> None:
    answers = await asyncio.gather(
        *(of_openai.chat.completions.create(model=MODEL, messages=[say(f"Side by side, {n}")]) for n in range(20))
    )
    assert all(answer.choices[0].message.content for answer in answers)

    async def booked() -> bool:
        return sum([(await seller.ledger()).totals.requests for seller in gate.sellers]) == 20

    await until(booked, "20 requests at all sellers")


async def test_errors(of_openai: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await of_openai.chat.completions.create(model="nobody", messages=[say("Where?")])
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        await of_openai.chat.completions.create(model=MODEL, messages=[], extra_body=at("open"))
    assert wrong.value.param == "messages"
