"""A seller that speaks Responses, as OpenAI's official SDK sees it."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_LONG = "The rock remembers the foot that comes back to it. " * 200
_WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


class Home(BaseModel):
    name: str
    rocks: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Sellers]:
    config = SellerConfig("OpenAI", (SellerModel("m"),), vendor="OpenAI", api_keys=("one", "two"))
    async with Sellers.start([config]) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(sellers: Sellers) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sellers["OpenAI"].base_url, api_key="one", max_retries=0) as sdk:
        yield sdk


async def test_a_chain_of_responses_reads_what_came_before(client: openai.AsyncOpenAI, sellers: Sellers) -> None:
    first = await client.responses.create(model="m", instructions=_LONG, input="Where is home?")
    assert (first.status, first.object, first.error) == ("completed", "response", None)
    assert first.output_text
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    second = await client.responses.create(
        model="m", instructions=_LONG, input="And then?", previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    assert second.usage is not None
    details = second.usage.input_tokens_details
    assert details.cached_tokens > 3000
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
    assert [row.cached for row in (await sellers["OpenAI"].ledger()).rows] == [0, details.cached_tokens]


async def test_a_stream_is_put_together_as_the_whole_answer(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "m", "input": "Where is home?", "reasoning": {"effort": "low", "summary": "auto"}}
    whole = await client.responses.create(**asked)
    async with client.responses.stream(**asked) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output_text == whole.output_text
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert final.usage is not None
    assert whole.usage is not None
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.output_tokens_details.reasoning_tokens == 16


@pytest.mark.parametrize("stream", [True, False])
async def test_a_forced_tool_is_called_and_its_output_taken(client: openai.AsyncOpenAI, stream: bool) -> None:
    asked: Any = {"model": "m", "input": "Rain?", "tools": [_WEATHER], "tool_choice": "required"}
    if stream:
        async with client.responses.stream(**asked) as events:
            answer: Any = await events.get_final_response()
    else:
        answer = await client.responses.create(**asked)
    (call,) = answer.output
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city":"sample","days":1}')
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "wet"}
    after = await client.responses.create(model="m", input=[result], previous_response_id=answer.id)
    assert after.output_text


async def test_a_structured_answer_is_parsed(client: openai.AsyncOpenAI) -> None:
    parsed = await client.responses.parse(model="m", input="Where?", text_format=Home)
    assert parsed.output_parsed == Home(name="sample", rocks=1)


async def test_an_answer_that_is_cut_is_incomplete(client: openai.AsyncOpenAI) -> None:
    cut = await client.responses.create(model="m", input="Where?", max_output_tokens=16)
    assert (cut.status, cut.incomplete_details and cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_a_response_can_be_asked_for_until_it_is_deleted(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(model="m", input="Where is home?")
    assert await client.responses.retrieve(made.id) == made
    (item,) = [item async for item in client.responses.input_items.list(made.id)]
    assert item.type == "message"
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_a_response_is_of_its_account_alone_and_only_if_stored(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(model="m", input="Where is home?")
    other = client.with_options(api_key="two")
    with pytest.raises(openai.NotFoundError):
        await other.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as gone:
        await other.responses.create(model="m", input="And then?", previous_response_id=made.id)
    assert (gone.value.code, gone.value.param) == ("previous_response_not_found", "previous_response_id")
    passing = await client.responses.create(model="m", input="Where is home?", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(passing.id)


async def test_a_background_response_gets_on_until_it_is_cancelled(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(model="m", input="Where?", background=True)
    seen = [made.status, *[(await client.responses.retrieve(made.id)).status for _ in range(2)]]
    assert seen == ["queued", "in_progress", "completed"]
    other = await client.responses.create(model="m", input="Where?", background=True)
    assert (await client.responses.cancel(other.id)).status == "cancelled"
    assert (await client.responses.retrieve(other.id)).status == "cancelled"
    done = await client.responses.create(model="m", input="Where?")
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        await client.responses.cancel(done.id)


async def test_a_conversation_grows_with_its_responses(client: openai.AsyncOpenAI) -> None:
    conversation = await client.conversations.create(items=[{"role": "user", "content": "Hello."}])
    for _ in range(2):
        answer = await client.responses.create(model="m", input="Where?", conversation=conversation.id)
        assert answer.conversation is not None
        assert answer.conversation.id == conversation.id
    assert len([item async for item in client.conversations.items.list(conversation.id)]) == 5
    await client.conversations.delete(conversation.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="m", input="Where?", conversation=conversation.id)


async def test_tokens_are_counted(client: openai.AsyncOpenAI) -> None:
    counted = await client.responses.input_tokens.count(model="m", input="Where is home?")
    answer = await client.responses.create(model="m", input="Where is home?")
    assert answer.usage is not None
    assert counted.input_tokens == answer.usage.input_tokens


async def test_a_conversation_is_compacted(client: openai.AsyncOpenAI) -> None:
    compacted: Any = await client.responses.compact(model="m", input="Where is home?")
    (item,) = compacted.output
    assert item.type == "compaction"
    assert (await client.responses.create(model="m", input=[item.to_dict()])).output_text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"extra_body": {"messages": []}}, "messages"),
        ({"previous_response_id": "resp_0", "conversation": "conv_0"}, "previous_response_id"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_breaks_a_rule_is_refused(client: openai.AsyncOpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(**{"model": "m", "input": "Where?", **fields})
    assert refused.value.param == param
