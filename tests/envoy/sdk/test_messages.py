"""Anthropic's Messages API by its SDK."""

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.envoy.sdk.asked import CALLED, PDF, PIXEL, Home
from tests.envoy.sdk.gate import MODEL, Gate

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_MARK: Any = {"type": "ephemeral"}
_WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


async def test_create(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    answer = await of_anthropic.messages.create(
        model=MODEL, max_tokens=100, system=LONG, messages=[say("Where is home?")]
    )
    assert (answer.type, answer.model, answer.stop_reason) == ("message", MODEL, "end_turn")
    (row,) = await gate.rows("claude")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (row.prompt, row.output)


async def test_stream(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    async with of_anthropic.messages.stream(model=MODEL, max_tokens=100, messages=[say("Where is home?")]) as stream:
        names = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert (names[0], names[-1]) == ("message_start", "message_stop")
    assert final.model == MODEL
    (row,) = await gate.rows("claude")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (row.prompt, row.output)


async def test_multi_turn_with_a_marked_system_prompt(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    system: Any = [{"type": "text", "text": LONG, "cache_control": _MARK}]
    messages: list[Any] = [say("Message by message")]
    decisions = []
    for _ in range(3):
        raw = await of_anthropic.messages.with_raw_response.create(
            model=MODEL, max_tokens=100, system=system, messages=messages
        )
        decisions.append(raw.headers["x-limpet-decision"])
        answer = await raw.parse()
        messages += [{"role": "assistant", "content": answer.content}, say("And then?")]
    assert all(decision.startswith("sticky.") for decision in decisions[1:])
    rows = await gate.rows("claude", 3)
    assert [row.cached > 1000 for row in rows] == [False, True, True]
    assert answer.usage.cache_read_input_tokens == rows[-1].cached


async def test_top_level_cache_control(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    messages: list[Any] = [say("From the top")]
    for _ in range(3):
        answer = await of_anthropic.messages.create(
            model=MODEL, max_tokens=100, system=LONG, messages=messages, cache_control=_MARK
        )
        messages += [{"role": "assistant", "content": answer.content}, say("And then?")]
    rows = await gate.rows("claude", 3)
    assert rows[0].cached == 0
    assert [row.cached for row in rows[1:]] == [row.cached + row.written for row in rows[:-1]]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_tools(of_anthropic: AsyncAnthropic, stream: bool) -> None:
    asked: Any = {"tools": [_WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}
    asked |= {"model": MODEL, "max_tokens": 100, "messages": [say("Rain?")]}
    if stream:
        async with of_anthropic.messages.stream(**asked) as events:
            answer: Any = await events.get_final_message()
    else:
        answer = await of_anthropic.messages.create(**asked)
    (call,) = answer.content
    assert (call.name, call.input) == CALLED
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "wet"}
    turns: Any = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    after = await of_anthropic.messages.create(
        model=MODEL, max_tokens=100, messages=[*asked["messages"], *turns], tools=[_WEATHER]
    )
    assert after.content[0].type == "text"


async def test_images_and_pdfs(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    content: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        {"type": "text", "text": "What is it?"},
    ]
    answer = await of_anthropic.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert answer.content[0].type == "text"
    assert (await gate.sellers["claude"].ledger()).totals.prompt > 512


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_thinking(of_anthropic: AsyncAnthropic, stream: bool) -> None:
    asked: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [say("Think.")]}
    asked |= {"model": MODEL, "max_tokens": 2000}
    if stream:
        async with of_anthropic.messages.stream(**asked) as events:
            answer: Any = await events.get_final_message()
    else:
        answer = await of_anthropic.messages.create(**asked)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].signature
    turns: Any = [*asked["messages"], {"role": "assistant", "content": answer.content}, say("Go on.")]
    assert (await of_anthropic.messages.create(**asked | {"messages": turns})).content[0].type == "thinking"


async def test_parse(of_anthropic: AsyncAnthropic) -> None:
    answer = await of_anthropic.messages.parse(
        model=MODEL, max_tokens=100, messages=[say("Where?")], output_format=Home
    )
    assert answer.parsed_output == Home(name="sample", rocks=1)


async def test_count_tokens(of_anthropic: AsyncAnthropic) -> None:
    asked: Any = {"model": MODEL, "system": LONG, "messages": [say("Where is home?")]}
    counted = await of_anthropic.messages.count_tokens(**asked)
    answer = await of_anthropic.messages.create(**asked, max_tokens=100)
    assert counted.input_tokens == answer.usage.input_tokens


async def test_parallel_requests(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    answers = await asyncio.gather(
        *(
            of_anthropic.messages.create(model=MODEL, max_tokens=50, messages=[say(f"Side by side, {n}")])
            for n in range(20)
        )
    )
    assert all(answer.content for answer in answers)
    assert len(await gate.rows("claude", 20)) == 20


async def test_errors(of_anthropic: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await of_anthropic.messages.create(model="nobody", max_tokens=9, messages=[say("Where?")])
    assert kind_of(unknown.value) == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as ours:
        await of_anthropic.messages.create(model=MODEL, max_tokens=9, messages=[])
    assert kind_of(ours.value) == "invalid_request_error"
    marked: Any = [{"type": "text", "text": "a", "cache_control": _MARK}] * 5
    with pytest.raises(anthropic.BadRequestError, match="Found 5"):
        await of_anthropic.messages.create(model=MODEL, max_tokens=9, messages=[say("Where?")], system=marked)


async def test_beta(of_anthropic: AsyncAnthropic, gate: Gate) -> None:
    answer = await of_anthropic.beta.messages.create(
        model=MODEL, max_tokens=50, messages=[say("Where?")], betas=["some-beta-2026-11-01"], extra_body={"new": 1}
    )
    assert answer.content[0].type == "text"
    (arrival,) = await gate.sellers["claude"].requests()
    assert headers_of(arrival)["anthropic-beta"] == "some-beta-2026-11-01"
    assert b'"new":1' in body_of(arrival).replace(b" ", b"")


async def test_message_batches_are_refused(of_anthropic: AsyncAnthropic) -> None:
    params: Any = {"model": MODEL, "max_tokens": 9, "messages": [say("Where?")]}
    with pytest.raises(anthropic.APIStatusError) as refused:
        await of_anthropic.messages.batches.create(requests=[{"custom_id": "1", "params": params}])
    assert refused.value.status_code in (403, 404)
    assert "batches" in refused.value.message


def kind_of(error: anthropic.APIStatusError) -> str:
    """The type in an error's body."""
    body: Any = error.body
    return str(body["error"]["type"])
