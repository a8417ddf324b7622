"""A conversation stays on its provider, however its turns are asked."""

import asyncio
from typing import Any

import pytest
from openai import OpenAI
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Answer, Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


async def _talk(stage: Stage, opener: str, turns: int, **how: Any) -> list[Answer]:
    messages = [say(LONG, "system"), say(opener)]
    answers = []
    for turn in range(turns):
        answer = await stage.ask(messages, **how)
        await stage.settle()
        messages += [say(answer.text, "assistant"), say(f"And then? ({turn})")]
        answers.append(answer)
    return answers


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_every_turn_comes_back_to_the_first_ones_provider(stage: Stage, stream: bool) -> None:
    await stage.serve("a", "b", "c")
    answers = await _talk(stage, "Where does a limpet live?", 4, stream=stream)
    assert len({answer.seller for answer in answers}) == 1
    assert [answer.decision for answer in answers] == ["first.scored", "sticky.hit", "sticky.hit", "sticky.hit"]
    assert [answer.usage.prompt_tokens_details.cached_tokens > 0 for answer in answers] == [False, True, True, True]
    assert all(answer.text for answer in answers)


async def test_the_synchronous_sdk_sticks_too(stage: Stage) -> None:
    await stage.serve("a", "b", "c")

    def both_turns() -> list[str | None]:
        with OpenAI(base_url=stage.base_url, api_key=stage.key, max_retries=0) as client:
            messages: Any = [say(LONG, "system"), say("Which way home?")]
            later: Any = [*messages, say("So?", "assistant"), say("Go on")]
            raw = client.chat.completions.with_raw_response
            return [
                raw.create(model=stage.model, messages=messages).headers.get("x-limpet-provider"),
                raw.create(model=stage.model, messages=later).headers.get("x-limpet-provider"),
            ]

    first, second = await asyncio.to_thread(both_turns)
    assert first == second is not None


async def test_parallel_conversations_spread_over_the_sellers_and_each_one_stays(stage: Stage) -> None:
    await stage.serve("a", "b", "c")

    async def two_turns(number: int) -> tuple[str, str]:
        messages = [say(LONG, "system"), say(f"Question number {number}")]
        first = await stage.ask(messages, stream=number % 2 == 0)
        second = await stage.ask([*messages, say(first.text, "assistant"), say("More")])
        return first.seller, second.seller

    pairs = await asyncio.gather(*(two_turns(number) for number in range(30)))
    assert all(first == second for first, second in pairs)
    assert {first for first, _ in pairs} == {"a", "b", "c"}


async def test_a_second_request_before_the_first_ones_outcome_goes_the_same_way(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    for seller in stage.each("a", "b", "c"):
        await seller.set_fault(Fault(kind="latency", delay_s=2.0))
    messages = [say(LONG, "system"), say("Twice at once")]
    slow = asyncio.create_task(stage.ask(messages))

    async def under_way() -> bool:
        return any([await stage.arrivals(name) for name in "abc"])

    await until(under_way, "the first request at its seller")
    second = await stage.ask([*messages, say("Yes", "assistant"), say("Again")])
    first = await slow
    assert (first.decision, second.decision) == ("first.scored", "sticky.pending")
    assert first.seller == second.seller


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_tool_call_and_its_result_stay(stage: Stage, stream: bool) -> None:
    await stage.serve("a", "b", "c")
    messages: list[Any] = [say(LONG, "system"), say("Use weather for the harbour")]
    first = await stage.ask(messages, stream=stream, tools=[_WEATHER])
    assert first.tool == "weather"
    await stage.settle()
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Brest"}'}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    second = await stage.ask(messages, stream=stream, tools=[_WEATHER])
    assert (second.seller, second.decision) == (first.seller, "sticky.hit")


async def test_an_image_is_part_of_who_the_conversation_is(stage: Stage) -> None:
    await stage.serve("a", "b", "c")

    def looking_at(picture: str) -> list[Any]:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
        return [say(LONG, "system"), {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]

    first = await stage.ask(looking_at("AAAA"))
    await stage.settle()
    again = await stage.ask([*looking_at("AAAA"), say("A shell", "assistant"), say("Sure?")])
    other = await stage.ask(looking_at("BBBB"))
    assert (again.seller, again.decision) == (first.seller, "sticky.hit")
    assert other.decision == "first.scored"


async def test_the_same_text_in_another_spelling_is_the_same_conversation(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    question = "Où vit la patelle ? \U0001f41a"
    first = await stage.ask([say(LONG, "system"), say(question)])
    await stage.settle()
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else "\\ud83d\\udc1a" for c in question)
    system, user = f'"content":"{LONG}"', f'"content":"{question}"'
    part = f'{{"text":"{question}","type":"text"}}'
    later = '{"role":"assistant","content":"There."},{"role":"user","content":"Here?"}'
    openers = {
        "spaces and escapes": f'[ {{{system},\n"role":"system"}}, {{"role" :"user","content":"{escaped}"}}]',
        "a text part": f'[{{"role":"system",{system}}},{{"content":[{part}],"role":"user"}}]',
        "later turns": f'[{{"role":"developer",{system}}},{{"role":"user",{user}}},{later}]',
    }
    bodies = [f'{{"temperature":0.5,"messages":{opener},"model":"{stage.model}"}}' for opener in openers.values()]
    bodies.append(f'{{ "model" : "{stage.model}",\n\t"messages":{openers["a text part"]}}}')
    for text in bodies:
        answer = await stage.post(text.encode())
        assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "sticky.hit")
        assert stage.seller_of(answer.headers["x-limpet-provider"]) == first.seller


async def test_a_client_that_leaves_in_mid_stream_harms_nobody(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    for seller in stage.each("a", "b", "c"):
        await seller.set_fault(Fault(kind="slow_drip", delay_s=0.2))
    messages: Any = [say(LONG, "system"), say("A long story, please")]
    for _ in range(4):
        stream = await stage.client.chat.completions.create(model=stage.model, messages=messages, stream=True)
        async for _chunk in stream:
            break
        await stream.close()
    for seller in stage.each("a", "b", "c"):
        await seller.set_fault(Fault())
    answer = await stage.ask(messages)
    assert answer.text
    for name in "abc":
        assert await stage.metric("limpet_provider_out", provider=stage.provider(name)) == 0.0
