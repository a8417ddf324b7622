"""A seller that speaks Messages, as Anthropic's official SDK sees it."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import pytest
import pytest_asyncio

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_LONG = "The rock remembers the foot that comes back to it. " * 200
_MARK: Any = {"type": "ephemeral"}
_WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
_HI: Any = [{"role": "user", "content": "Where is home?"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Sellers]:
    models = (SellerModel("m"),)
    configs = [
        SellerConfig("Anthropic", models, vendor="Anthropic", api_keys=("one", "two")),
        SellerConfig("DeepSeek", models, api_keys=("one",)),
    ]
    async with Sellers.start(configs) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(sellers: Sellers) -> AsyncIterator[anthropic.AsyncAnthropic]:
    origin = sellers["Anthropic"].origin
    async with anthropic.AsyncAnthropic(base_url=origin, api_key="one", max_retries=0) as sdk:
        yield sdk


def _system(**more: Any) -> list[Any]:
    return [{"type": "text", "text": _LONG, **more}]


def _counts(usage: Any) -> tuple[int, int]:
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens


async def test_turns_of_a_conversation_with_the_sdk(client: anthropic.AsyncAnthropic, sellers: Sellers) -> None:
    messages = [*_HI]
    first = await client.messages.create(
        model="m", max_tokens=100, system=_system(cache_control=_MARK), messages=messages
    )
    assert (first.type, first.role, first.stop_reason) == ("message", "assistant", "end_turn")
    assert first.content[0].type == "text"
    read, written = _counts(first.usage)
    assert read == 0
    assert written > 3000
    assert first.usage.cache_creation is not None
    assert first.usage.cache_creation.ephemeral_5m_input_tokens == written
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "And then?"}]
    second = await client.messages.create(
        model="m", max_tokens=100, system=_system(cache_control=_MARK), messages=messages
    )
    assert _counts(second.usage) == (written, 0)
    rows = (await sellers["Anthropic"].ledger()).rows
    assert [(row.prompt, row.cached, row.written) for row in rows] == [
        (written + first.usage.input_tokens, 0, written),
        (written + second.usage.input_tokens, written, 0),
    ]


async def test_nothing_is_cached_without_cache_control(client: anthropic.AsyncAnthropic) -> None:
    for _ in range(2):
        answer = await client.messages.create(model="m", max_tokens=9, system=_system(), messages=_HI)
        assert _counts(answer.usage) == (0, 0)


async def test_the_automatic_breakpoint_advances_with_the_conversation(client: anthropic.AsyncAnthropic) -> None:
    messages, seen = [*_HI], []
    for _ in range(3):
        answer = await client.messages.create(
            model="m", max_tokens=9, system=_LONG, messages=messages, cache_control=_MARK
        )
        seen.append(_counts(answer.usage))
        assert answer.usage.input_tokens == 0
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": "Go on."}]
    assert seen[0][0] == 0
    assert [read for read, _ in seen[1:]] == [sum(counts) for counts in seen[:-1]]


async def test_an_hour_is_reported_apart(client: anthropic.AsyncAnthropic) -> None:
    answer = await client.messages.create(
        model="m",
        max_tokens=9,
        system=_system(cache_control={**_MARK, "ttl": "1h"}),
        messages=[{"role": "user", "content": [{"type": "text", "text": _LONG, "cache_control": _MARK}]}],
    )
    split = answer.usage.cache_creation
    assert split is not None
    assert split.ephemeral_1h_input_tokens > 3000
    assert split.ephemeral_5m_input_tokens > 3000
    assert answer.usage.cache_creation_input_tokens == sum(
        (split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens)
    )


async def test_a_stream_is_put_together_as_the_whole_answer(client: anthropic.AsyncAnthropic) -> None:
    asked: Any = {"model": "m", "max_tokens": 100, "messages": _HI, "thinking": {"type": "adaptive"}}
    whole: Any = await client.messages.create(**asked)
    async with client.messages.stream(**asked) as stream:
        names = [event.type async for event in stream]
        final: Any = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[1].text == whole.content[1].text
    assert (final.usage.input_tokens, final.usage.output_tokens, final.stop_reason) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
        whole.stop_reason,
    )
    assert names[0] == "message_start"
    assert names[-1] == "message_stop"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_forced_tool_is_called(client: anthropic.AsyncAnthropic, stream: bool) -> None:
    asked: Any = {"tools": [_WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}
    asked |= {"model": "m", "max_tokens": 100, "messages": _HI}
    if stream:
        async with client.messages.stream(**asked) as events:
            answer = await events.get_final_message()
    else:
        answer = await client.messages.create(**asked)
    (call,) = answer.content
    assert call.type == "tool_use"
    assert (call.name, call.input, answer.stop_reason) == ("weather", {"city": "sample", "days": 1}, "tool_use")


async def test_pictures_documents_and_thoughts_may_come_back(client: anthropic.AsyncAnthropic) -> None:
    data = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    content: Any = [
        {"type": "image", "source": data},
        {"type": "document", "source": {**data, "media_type": "application/pdf"}},
    ]
    thought: Any = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    messages: Any = [{"role": "user", "content": content}, {"role": "assistant", "content": [thought]}, *_HI]
    answer = await client.messages.create(model="m", max_tokens=9, messages=messages)
    assert answer.usage.input_tokens > 512
    assert answer.stop_reason == "max_tokens"


async def test_tokens_are_counted_and_models_listed(client: anthropic.AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model="m", messages=_HI, system=_LONG)
    answer = await client.messages.create(model="m", max_tokens=9, messages=_HI, system=_LONG)
    assert counted.input_tokens == answer.usage.input_tokens > 3000
    assert [model.id async for model in client.models.list()] == ["m"]
    assert (await client.models.retrieve("m")).type == "model"
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("other")


_BLOCK: Any = {"type": "text", "text": "a", "cache_control": _MARK}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"system": [_BLOCK] * 5}, "A maximum of 4 blocks with cache_control may be provided. Found 5."),
        ({"system": [_BLOCK] * 4, "cache_control": _MARK}, "Found 5."),
        ({"system": [_BLOCK, {**_BLOCK, "cache_control": {**_MARK, "ttl": "1h"}}]}, "must not come after"),
        ({"system": [{**_BLOCK, "cache_control": {"type": "ephemeral", "ttl": "2h"}}]}, "ttl"),
        ({"system": [{**_BLOCK, "cache_control": {"type": "ephemeral", "ttl": ["1h"]}}]}, "ttl"),
        ({"system": [{**_BLOCK, "cache_control": {"type": "always"}}]}, "ephemeral"),
        ({"messages": [{"role": "user", "content": [{**_BLOCK, "text": ""}]}]}, "must be non-empty"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "max_tokens"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"tools": [_WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "not found in provided tools"),
        ({"extra_body": {"stream_options": {}}}, "stream_options: Extra inputs are not permitted"),
        ({"messages": []}, "at least one message"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:24],
)
async def test_what_breaks_a_rule_is_refused(
    client: anthropic.AsyncAnthropic, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(**{"model": "m", "max_tokens": 1000, "messages": _HI, **fields})
    assert problem in refused.value.message
    assert refused.value.body["error"]["type"] == "invalid_request_error"


async def test_four_marks_and_a_top_level_one_on_the_same_block_are_right(client: anthropic.AsyncAnthropic) -> None:
    marked: Any = [{"role": "user", "content": [_BLOCK]}]
    await client.messages.create(model="m", max_tokens=9, system=[_BLOCK] * 3, messages=marked, cache_control=_MARK)
    other: Any = {**_MARK, "ttl": "1h"}
    with pytest.raises(anthropic.BadRequestError, match="another ttl"):
        await client.messages.create(model="m", max_tokens=9, messages=marked, cache_control=other)


async def test_key_and_version_are_required(sellers: Sellers) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": _HI}
    async with httpx.AsyncClient(base_url=sellers["Anthropic"].base_url) as http:
        keyless = await http.post("/messages", json=body, headers={"anthropic-version": "2023-06-01"})
        versionless = await http.post("/messages", json=body, headers={"x-api-key": "one"})
    assert keyless.status_code == 401
    assert keyless.json()["error"]["type"] == "authentication_error"
    assert versionless.status_code == 400
    assert "anthropic-version" in versionless.json()["error"]["message"]


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit_error"), (529, "overloaded_error"), (500, "api_error")])
async def test_a_fault_has_the_shape_of_the_api(
    client: anthropic.AsyncAnthropic, sellers: Sellers, status: int, kind: str
) -> None:
    await sellers["Anthropic"].set_fault(Fault(kind="status", status=status))
    with pytest.raises(anthropic.APIStatusError) as refused:
        await client.messages.create(model="m", max_tokens=9, messages=_HI)
    assert (refused.value.status_code, refused.value.body["error"]["type"]) == (status, kind)


async def test_a_vendor_with_both_caches_on_its_own_in_both(sellers: Sellers) -> None:
    seller = sellers["DeepSeek"]
    async with anthropic.AsyncAnthropic(
        base_url=seller.origin + "/anthropic", auth_token="one", api_key=None, max_retries=0
    ) as sdk:
        seen = [
            (await sdk.messages.create(model="m", max_tokens=9, messages=_HI, system=_LONG)).usage for _ in range(2)
        ]
        assert [(usage.cache_read_input_tokens or 0) > 3000 for usage in seen] == [False, True]
        apart = await sdk.messages.create(
            model="m", max_tokens=9, messages=_HI, system=_LONG, metadata={"user_id": "somebody"}
        )
        assert apart.usage.cache_read_input_tokens == 0
