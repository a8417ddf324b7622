"""The Responses API by OpenAI's SDK: responses live at one provider, and their conversations with them."""

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from tests.envoy.cast import LONG
from tests.envoy.sdk.asked import CALLED, PDF, PIXEL, Home
from tests.envoy.sdk.gate import MODEL, Gate

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


async def test_create(of_openai: AsyncOpenAI, gate: Gate) -> None:
    answer = await of_openai.responses.create(model=MODEL, instructions=LONG, input="Where is home?")
    assert (answer.object, answer.status, answer.model) == ("response", "completed", MODEL)
    assert answer.output_text
    (row,) = await gate.rows("open")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (row.prompt, row.output)


async def test_stream(of_openai: AsyncOpenAI, gate: Gate) -> None:
    async with of_openai.responses.stream(model=MODEL, input="Where is home?") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text
    assert final.model == MODEL
    (row,) = await gate.rows("open")
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.output_tokens) == (row.prompt, row.output)


async def test_previous_response(of_openai: AsyncOpenAI, gate: Gate) -> None:
    first = await of_openai.responses.create(model=MODEL, instructions=LONG, input="One by one")
    raw = await of_openai.responses.with_raw_response.create(
        model=MODEL, instructions=LONG, input="And then?", previous_response_id=first.id
    )
    second = raw.parse()
    assert raw.headers["x-limpet-provider"] == "open"
    assert raw.headers["x-limpet-decision"] == "pinned.object"
    assert second.previous_response_id == first.id
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 1000
    assert len(await gate.rows("open", 2)) == 2


async def test_conversation(of_openai: AsyncOpenAI, gate: Gate) -> None:
    conversation = await of_openai.conversations.create()
    for _ in range(2):
        raw = await of_openai.responses.with_raw_response.create(
            model=MODEL, input="Where is home?", conversation=conversation.id
        )
        assert raw.headers["x-limpet-decision"] == "pinned.object"
        assert raw.parse().conversation is not None
    assert len([item async for item in of_openai.conversations.items.list(conversation.id)]) == 4
    async with gate.of_openai("somebody-else") as other:
        with pytest.raises(openai.NotFoundError):
            await other.conversations.retrieve(conversation.id)
    await of_openai.conversations.delete(conversation.id)


async def test_multi_turn(of_openai: AsyncOpenAI) -> None:
    items: list[Any] = [{"role": "user", "content": "Item by item"}]
    decisions = []
    for _ in range(3):
        raw = await of_openai.responses.with_raw_response.create(
            model=MODEL, instructions=LONG, input=items, store=False
        )
        decisions.append(raw.headers["x-limpet-decision"])
        items += [item.to_dict() for item in raw.parse().output]
        items.append({"role": "user", "content": "And then?"})
    assert all(decision.startswith("sticky.") for decision in decisions[1:])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_tools(of_openai: AsyncOpenAI, stream: bool) -> None:
    asked: Any = {"model": MODEL, "input": "Rain?", "tools": [WEATHER], "tool_choice": "required"}
    if stream:
        async with of_openai.responses.stream(**asked) as events:
            answer: Any = await events.get_final_response()
    else:
        answer = await of_openai.responses.create(**asked)
    (call,) = answer.output
    assert (call.name, json.loads(call.arguments)) == CALLED
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "wet"}
    after = await of_openai.responses.create(model=MODEL, input=[result], previous_response_id=answer.id)
    assert after.output_text


async def test_images_and_files(of_openai: AsyncOpenAI, gate: Gate) -> None:
    content: Any = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"},
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
    ]
    answer = await of_openai.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    assert answer.output_text
    assert (await gate.sellers["open"].ledger()).totals.prompt > 512


async def test_reasoning(of_openai: AsyncOpenAI) -> None:
    answer = await of_openai.responses.create(model=MODEL, input="Think.", reasoning={"effort": "low"})
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.usage is not None
    assert answer.usage.output_tokens_details.reasoning_tokens == 16


async def test_parse(of_openai: AsyncOpenAI) -> None:
    parsed = await of_openai.responses.parse(model=MODEL, input="Where?", text_format=Home)
    assert parsed.output_parsed == Home(name="sample", rocks=1)


async def test_retrieve(of_openai: AsyncOpenAI) -> None:
    made = await of_openai.responses.create(model=MODEL, input="Where is home?")
    raw = await of_openai.responses.with_raw_response.retrieve(made.id)
    assert raw.parse().output == made.output
    assert raw.headers["x-limpet-decision"] == "pinned.object"


async def test_input_items(of_openai: AsyncOpenAI) -> None:
    made = await of_openai.responses.create(model=MODEL, input="Where is home?")
    (item,) = [item async for item in of_openai.responses.input_items.list(made.id)]
    assert item.type == "message"


async def test_delete(of_openai: AsyncOpenAI) -> None:
    made = await of_openai.responses.create(model=MODEL, input="Where is home?")
    await of_openai.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await of_openai.responses.retrieve(made.id)


async def test_cancel(of_openai: AsyncOpenAI) -> None:
    made = await of_openai.responses.create(model=MODEL, input="Where?", background=True)
    assert made.status == "queued"
    assert (await of_openai.responses.cancel(made.id)).status == "cancelled"


async def test_input_tokens(of_openai: AsyncOpenAI) -> None:
    counted = await of_openai.responses.input_tokens.count(model=MODEL, input="Where is home?")
    assert counted.input_tokens > 0


async def test_compact(of_openai: AsyncOpenAI) -> None:
    compacted: Any = await of_openai.responses.compact(model=MODEL, input="Where is home?")
    (item,) = compacted.output
    assert item.type == "compaction"


async def test_what_is_gone(of_openai: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as gone:
        await of_openai.responses.create(model=MODEL, input="And then?", previous_response_id="resp_0")
    assert gone.value.code == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError):
        await of_openai.responses.retrieve("resp_0")


async def test_somebody_elses(of_openai: AsyncOpenAI, gate: Gate) -> None:
    made = await of_openai.responses.create(model=MODEL, input="Mine alone")
    async with gate.of_openai("somebody-else") as other:
        with pytest.raises(openai.NotFoundError):
            await other.responses.retrieve(made.id)
        with pytest.raises(openai.APIStatusError):
            await other.responses.create(model=MODEL, input="And then?", previous_response_id=made.id)
    assert (await of_openai.responses.retrieve(made.id)).id == made.id


async def test_codex(of_openai: AsyncOpenAI, gate: Gate) -> None:
    session = "0199a213-81c0-7800-8aa1-bbab2a035a53"
    headers = {"user-agent": "codex_cli_rs/0.60.0", "session-id": session, "thread-id": session}
    decisions = []
    for number in range(3):
        raw = await of_openai.responses.with_raw_response.create(
            model=MODEL,
            instructions=LONG,
            input=[{"role": "user", "content": f"Compacted to something else, {number}"}],
            prompt_cache_key=session,
            store=False,
            stream=True,
            extra_headers=headers,
        )
        decisions.append(raw.headers["x-limpet-decision"])
        assert [event.type async for event in raw.parse()][-1] == "response.completed"
    assert all(decision.startswith("sticky.") for decision in decisions[1:])
    assert [row.cached > 1000 for row in await gate.rows("open", 3)] == [False, True, True]
