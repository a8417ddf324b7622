"""Chat completions at providers that speak only Anthropic's Messages, by OpenAI's own SDK through a real Envoy."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel
from tests.envoy.cast import LONG, big, say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.messages import called, ended, event, failure, message, said, streamed, text
from tests.envoy.stage import Stage
from tests.envoy.upstream import HANG, RESET, Reply, Upstream, completion
from tests.waiting import until

from limpet_extproc.contract.envoy import TRANSLATE_HEADER, translator_socket
from limpet_extproc.translation.request import translated
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

ANTHROPIC: Final = {"vendor": "Anthropic"}
TOOL: Final[Any] = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}


@dataclass(frozen=True)
class Scene:
    """One translated provider and, where a story needs one, a native one."""

    stage: Stage
    messages: Upstream
    native: Upstream

    async def serve(self, *sellers: str, first: str = "a") -> None:
        """`a` is translated, `b` native; `first` is the one that is tried first."""
        specs = {
            "a": {**ANTHROPIC, "url": self.messages.url, "weight": 1 if first == "a" else 0},
            "b": {"vendor": "Custom", "url": self.native.url, "weight": 1 if first == "b" else 0},
        }
        await self.stage.serve(*sellers, specs=specs)

    def script(self, reply: Reply | bytes | str) -> None:
        self.messages.script = lambda _: reply

    async def ask(self, **fields: Any) -> Any:
        asked = {"model": self.stage.model, "messages": [say("Where is it?")], **fields}
        return await self.stage.client.chat.completions.create(**asked)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Stage) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(Upstream()) for _ in "ab"]
        a.script = lambda _: message()
        yield Scene(stage, a, b)


async def test_a_question_and_its_answer(scene: Scene) -> None:
    await scene.serve("a")
    got = await scene.ask(messages=[say("Be brief.", "system"), say("Where is it?")], stop="END", temperature=0.5)
    assert got.choices[0].message.content == "At home."
    assert got.choices[0].finish_reason == "stop"
    assert got.model == scene.stage.model
    assert got.usage.to_dict() == {
        "prompt_tokens": 125,
        "completion_tokens": 7,
        "total_tokens": 132,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
    }
    (request,) = scene.messages.got
    assert (request.target, request.header("anthropic-version")) == ("/v1/messages", "2023-06-01")
    assert request.header("content-length") == str(len(request.body))
    assert request.json == {
        "model": "flash.a",
        "max_tokens": 8192,
        "system": [text("Be brief.")],
        "messages": [{"role": "user", "content": [text("Where is it?")]}],
        "stop_sequences": ["END"],
        "temperature": 0.5,
    }


async def test_a_stream_arrives_as_it_comes_with_its_usage(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(streamed(*said("At ", "home."), pause_s=0.05))
    stream = await scene.ask(stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "At home."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.prompt_tokens == 125
    assert chunks[-1].usage.completion_tokens == 9
    assert scene.messages.got[0].json["stream"] is True


async def test_a_stream_in_odd_pieces_has_the_clients_name_of_the_model(scene: Scene) -> None:
    await scene.serve("a")
    reply = streamed(*said(*"At home on its rock"), pause_s=0.0)
    sent = b"".join(piece for piece in reply.pieces or () if isinstance(piece, bytes))
    pieces: list[bytes | float] = []
    for at in range(0, len(sent), 70):
        pieces += [sent[at : at + 70], 0.005]
    scene.script(replace(reply, pieces=pieces))
    chunks = [chunk async for chunk in await scene.ask(stream=True)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "At home on its rock"
    assert {c.model for c in chunks} == {scene.stage.model}


async def test_a_usage_that_nobody_asked_for_stays_away(scene: Scene) -> None:
    """But the gateway knows it."""
    await scene.serve("a")
    scene.script(streamed(*said("At home.")))
    chunks = [chunk async for chunk in await scene.ask(stream=True)]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    provider = scene.stage.provider("a")

    async def known() -> bool:
        return await scene.stage.metric("limpet_cached_tokens_total", provider=provider) == 100

    await until(known, "the tokens to be counted")


async def test_the_most_telling_error_is_in_the_clients_shape(scene: Scene) -> None:
    """Though it was the translated provider's, and the native one had the last word."""
    await scene.serve("a", "b", first="a")
    scene.script(failure(429, "rate_limit_error", "Slow down.", retry_after="90"))
    scene.native.script = lambda _: Reply(500, body={"error": {"message": "No.", "type": "server_error"}})
    with pytest.raises(openai.RateLimitError) as error:
        await scene.ask()
    assert error.value.code == "rate_limit_exceeded"
    assert error.value.message.find("Slow down. (") > 0


async def test_a_breakpoint_that_the_gateway_adds_is_translated(scene: Scene) -> None:
    specs = {"a": {**ANTHROPIC, "url": scene.messages.url, "promptCaching": "Auto"}}
    await scene.stage.serve("a", specs=specs)
    await scene.ask(messages=[say(LONG * 4, "system"), say("One?"), say("At home.", "assistant"), say("Two?")])
    (request,) = scene.messages.got
    assert b'"cache_control"' in request.body
    assert request.header("content-length") == str(len(request.body))


async def test_streamed_tool_calls_are_rebuilt_by_the_sdk(scene: Scene) -> None:
    await scene.serve("a")
    events = [*called(0, "tide", "", '{"at": ', '"noon"}'), *called(1, "rock"), *ended("tool_use")]
    scene.script(streamed(*events))
    async with scene.stage.client.chat.completions.stream(
        model=scene.stage.model, messages=[say("Go")], tools=[TOOL]
    ) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in calls or ()] == [
        ("toolu_0", "tide", '{"at": "noon"}'),
        ("toolu_1", "rock", "{}"),
    ]


async def test_thinking_comes_back_and_is_sent_back(scene: Scene) -> None:
    await scene.serve("a")
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    scene.script(message(thinking, {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}}, stop="tool_use"))
    first = await scene.ask(tools=[TOOL], reasoning_effort="low")
    answer = first.choices[0].message
    assert answer.reasoning_content == "hm"
    scene.script(message())
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "noon"}
    await scene.ask(messages=[say("Where is it?"), answer.to_dict(), result], tools=[TOOL], reasoning_effort="low")
    first_body, second_body = (got.json for got in scene.messages.got)
    assert first_body["thinking"] == second_body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert second_body["messages"][1]["content"][0] == thinking


class Home(BaseModel):
    """Where a limpet lives."""

    rock: str
    depth_m: int


async def test_structured_output(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(message(text('{"rock": "grey", "depth_m": 2}')))
    got = await scene.stage.client.chat.completions.parse(
        model=scene.stage.model, messages=[say("Where?")], response_format=Home
    )
    assert got.choices[0].message.parsed == Home(rock="grey", depth_m=2)
    schema = scene.messages.got[0].json["output_config"]["format"]["schema"]
    assert schema["required"] == ["rock", "depth_m"]


@pytest.mark.parametrize("mib", [2, 30])
async def test_an_image_of_any_allowed_size(scene: Scene, mib: int) -> None:
    await scene.serve("a")
    await scene.ask(messages=[big(mib << 20)])
    (request,) = scene.messages.got
    (block,) = request.json["messages"][0]["content"]
    assert block["source"]["media_type"] == "image/png"
    assert len(block["source"]["data"]) == mib << 20
    assert request.header("content-length") == str(len(request.body))


async def test_a_body_that_gets_too_large_goes_to_who_takes_it_as_it_is(scene: Scene) -> None:
    asked = {"model": scene.stage.model, "messages": [say("x")]}
    asked["messages"] = [say("x" * ((32 << 20) - len(json.dumps(asked))))]
    scene.native.script = lambda _: completion("Native.")
    scene.messages.script = lambda got: Reply(404) if "untranslated" in got.target else message()
    await scene.serve("a", "b", first="a")
    got = await scene.stage.post(asked)
    assert got.json["choices"][0]["message"]["content"] == "Native."
    await scene.serve("a")
    got = await scene.stage.post(asked)
    assert got.status == 413
    assert got.json["error"]["code"] == "request_too_large"
    assert got.json["error"]["message"].find("larger than this gateway takes") > 0


async def test_a_body_may_be_as_large_as_the_gateway_takes_when_it_is_translated(scene: Scene) -> None:
    await scene.serve("a")
    sent = translated(json.dumps({"model": "flash.a", "messages": [say("x")]}).encode()).body
    await scene.ask(messages=[say("x" * ((32 << 20) - len(sent) + 1))])
    (request,) = scene.messages.got
    assert len(request.body) == 32 << 20


async def test_the_providers_own_words_for_an_error(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(failure(400, "invalid_request_error", "messages.0: “tide” is not allowed"))
    with pytest.raises(openai.BadRequestError) as error:
        await scene.ask()
    assert error.value.body == {
        "message": "messages.0: “tide” is not allowed",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_request_error",
    }


async def test_a_limit_is_one_for_the_sdk(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(failure(429, "rate_limit_error", "This request would exceed your limit.", retry_after="7"))
    with pytest.raises(openai.RateLimitError) as error:
        await scene.ask()
    assert error.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "reply",
    [failure(529, "overloaded_error", "Overloaded"), failure(500, "api_error", "No."), RESET],
    ids=["529", "500", "reset"],
)
async def test_from_a_translated_provider_to_a_native_one(scene: Scene, reply: Reply | str) -> None:
    await scene.serve("a", "b", first="a")
    scene.script(reply)
    scene.native.script = lambda _: completion("Native.")
    got = await scene.ask(store=False)
    assert got.choices[0].message.content == "Native."
    assert scene.messages.got[0].target == "/v1/messages"
    (request,) = scene.native.got
    assert request.target == "/v1/chat/completions"
    assert request.json == {"model": "flash.b", "messages": [say("Where is it?")], "store": False}
    assert request.header("content-length") == str(len(request.body))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_from_a_native_provider_to_a_translated_one(scene: Scene, stream: bool) -> None:
    await scene.serve("a", "b", first="b")
    scene.native.script = lambda _: Reply(503, body={"error": {"message": "Down."}})
    scene.script(streamed(*said("At home.")) if stream else message())
    got = await scene.ask(stream=stream)
    if stream:
        chunks = [chunk async for chunk in got]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "At home."
    else:
        assert got.choices[0].message.content == "At home."
    (request,) = scene.messages.got
    assert request.target == "/v1/messages"
    assert request.header("content-length") == str(len(request.body))


async def test_a_long_stream_that_comes_faster_than_it_is_read(scene: Scene) -> None:
    """More than all buffers on the way hold: the provider has to wait, and nothing is lost."""
    await scene.serve("a")
    word, many = "limpet " * 300, 20_000
    head, tail = streamed(*said()[:1], whole=False).pieces, streamed(*said()[1:]).pieces
    assert head is not None
    assert tail is not None
    piece = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
    pieces = [*head, *([piece * 10] * (many // 10)), *tail[2:]]
    scene.script(Reply(headers={"content-type": "text/event-stream"}, pieces=pieces))
    body = {"model": scene.stage.model, "messages": [say("Go on")], "stream": True}
    url = f"{scene.stage.base_url}/chat/completions"
    async with scene.stage.http.post(url, json=body) as response:
        await asyncio.sleep(0.5)  # the client does something else
        said_words = 0
        async for line in response.content:
            said_words += line.count(word.encode())
    assert said_words == many
    assert line == b"\n"
    scene.script(message())
    assert (await scene.ask()).choices[0].message.content == "At home."


async def test_an_error_in_the_middle_of_a_stream_is_raised(scene: Scene) -> None:
    await scene.serve("a")
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    scene.script(streamed(*said("At ")[:2], error, whole=False))
    stream = await scene.ask(stream=True)
    with pytest.raises(openai.APIError, match="Overloaded"):
        [chunk async for chunk in stream]


async def test_a_stream_that_ends_in_the_middle_is_raised(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(streamed(*said("At ")[:2], whole=False))
    stream = await scene.ask(stream=True)
    with pytest.raises(openai.APIError, match="ended before its end"):
        [chunk async for chunk in stream]


@pytest.mark.parametrize("bytes_", [9, 1 << 20], ids=["short", "long"])
async def test_an_answer_that_cannot_be_read_is_raised(scene: Scene, bytes_: int) -> None:
    """Of a long one the head may be on its way when that is known: then it is cut."""
    await scene.serve("a")
    scene.script(Reply(body=[{"type": "message", "role": "assistant", "content": [text("x" * bytes_)]}]))
    with pytest.raises((openai.InternalServerError, openai.APIConnectionError)) as error:
        await scene.ask()
    if isinstance(error.value, openai.InternalServerError):
        assert (error.value.status_code, error.value.code) == (502, "api_error")


async def test_one_odd_value_costs_no_answer(scene: Scene) -> None:
    await scene.serve("a")
    odd = {"type": "message", "role": "assistant", "id": None, "content": [text("At home.")], "usage": None}
    scene.script(Reply(body=odd))
    assert (await scene.ask()).choices[0].message.content == "At home."


async def test_a_stream_that_is_cut_is_cut(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(streamed(*said("At ")[:2], whole=False, pause_s=0.05, cut=True))
    stream = await scene.ask(stream=True)
    with pytest.raises(openai.APIConnectionError):
        [chunk async for chunk in stream]


async def test_the_first_translated_provider_takes_over_open_connections(scene: Scene) -> None:
    """All that Envoy gets for it are a cluster and a route: none of these connections keeps an older listener."""
    scene.native.script = lambda _: completion("Native.")
    body = {"model": scene.stage.model, "messages": [say("Where is it?")]}
    await scene.serve("b", first="b")
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)))
            for _ in range(8)
        ]

        async def ask(client: aiohttp.ClientSession) -> Any:
            async with client.post(f"{scene.stage.base_url}/chat/completions", json=body) as response:
                assert TRANSLATE_HEADER not in response.headers
                return (await response.json())["choices"][0]["message"]["content"]

        assert {await ask(client) for client in clients} == {"Native."}
        await scene.serve("a")
        assert {await ask(client) for client in clients} == {"At home."}


async def test_what_cannot_be_translated_goes_to_who_need_not(scene: Scene) -> None:
    await scene.serve("a", "b", first="a")
    scene.native.script = lambda _: completion("Native.")
    got = await scene.ask(logprobs=True)
    assert got.choices[0].message.content == "Native."
    assert not scene.messages.got


async def test_or_is_refused_with_the_name_of_the_field(scene: Scene) -> None:
    await scene.serve("a")
    with pytest.raises(openai.BadRequestError) as error:
        await scene.ask(n=2)
    assert error.value.param == "n"
    assert error.value.response.headers["x-limpet-decision"] == "refused.untranslatable"
    assert not scene.messages.got


async def test_a_client_that_leaves_ends_the_call(scene: Scene) -> None:
    await scene.serve("a")
    scene.script(streamed(*said("At ")[:2], whole=False, stalls=True))
    stream = await scene.ask(stream=True)
    await stream.__anext__()
    await stream.close()

    async def left() -> bool:
        return scene.messages.left == 1

    await until(left, "the provider's connection to end")


async def test_a_provider_that_hangs_holds_up_no_other(scene: Scene) -> None:
    await scene.serve("a")
    scene.messages.script = lambda got: HANG if got.number == 1 else message()
    with pytest.raises(openai.APITimeoutError):
        await scene.stage.client.with_options(timeout=0.5).chat.completions.create(
            model=scene.stage.model, messages=[say("Hang")]
        )
    assert (await scene.ask()).choices[0].message.content == "At home."


async def test_a_translator_that_died_costs_nobody_a_request(scene: Scene) -> None:
    """Nor the provider its good name: it is tried again at once."""
    await scene.serve("a", "b", first="a")
    scene.native.script = lambda _: completion("Native.")
    scene.messages.script = lambda got: Reply(404) if "untranslated" in got.target else message()
    await scene.ask()
    for pid in translators():
        os.kill(pid, signal.SIGKILL)
    for _ in range(5):
        got = await scene.ask()
        assert got.choices[0].message.content in ("Native.", "At home.")

    async def back() -> bool:
        return (await scene.ask()).choices[0].message.content == "At home."

    await until(back, "translations again")


async def test_no_request_waits_for_the_start_of_a_translator(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    others = set(translators())
    async with (
        running_gateway(header_mode=False) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
        Upstream(lambda _: Reply(404)) as a,
        Upstream(lambda _: Reply(404)) as b,
    ):
        await Scene(stage, a, b).serve("a")

        async def runs() -> bool:
            return bool(set(translators()) - others)

        await until(runs, "a translator")
        assert (a.got, b.got) == ([], [])


def translators() -> list[int]:
    """The processes that translate for the workers of this network."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"limpet_extproc.process.translator" in command:
            found.append(int(process.name))
    return found


async def test_without_any_translator_the_next_provider_is_asked(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    """And the one that was not asked is not blamed."""
    async with (
        running_gateway(header_mode=False) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
        Upstream(lambda _: Reply(404)) as a,
        Upstream(lambda _: completion("Native.")) as b,
    ):
        Path(running[0].envoy.extproc_sockets[0]).with_name(translator_socket(0)).unlink()
        scene = Scene(stage, a, b)
        await scene.serve("a", "b", first="a")
        assert (await scene.ask()).choices[0].message.content == "Native."
        assert [got.target for got in a.got] == ["/limpet-untranslated/v1/messages"]
        await scene.serve("a")
        with pytest.raises(openai.InternalServerError) as error:
            await scene.ask()
        assert error.value.status_code == 503
        assert error.value.code == "no_provider_available"
        assert "could not translate the request" in error.value.message
        await stage.settle()
        assert await stage.metric("limpet_provider_out", provider=stage.provider("a")) == 0.0


async def test_its_own_api_passes_untouched(scene: Scene) -> None:
    await scene.serve("a")
    body = {"model": scene.stage.model, "max_tokens": 9, "messages": [say("Hi")], "unknown": {"b": 1.0}}
    written = json.dumps(body).encode()
    got = await scene.stage.post(written, path="/v1/messages", headers={"anthropic-version": "2023-06-01"})
    assert got.json["content"] == [text("At home.")]
    (request,) = scene.messages.got
    assert request.body == written.replace(json.dumps(scene.stage.model).encode(), b'"flash.a"')
