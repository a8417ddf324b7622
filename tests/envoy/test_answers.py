"""Answers that are none: another provider is asked if it can do better, and nothing broken is remembered."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, say
from tests.envoy.every_api import SPEAKS, anything
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import CLOSE, RESET, Got, Reply, Script, Upstream, completion, events

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_JSON = {"content-type": "application/json"}
_SSE = {"content-type": "text/event-stream"}


def error(status: int, code: str = "x", message: str = "No.", **headers: str) -> Reply:
    """An error as OpenAI's API writes it."""
    return Reply(
        status,
        {**_JSON, **{name.replace("_", "-"): value for name, value in headers.items()}},
        {"error": {"message": message, "type": "t", "param": None, "code": code}},
    )


def chunk(text: str, **fields: Any) -> dict[str, Any]:
    """One event of a streamed completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **fields}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def choice(**message: Any) -> Reply:
    """A completion whose message has these members too."""
    said = {"role": "assistant", "content": "Hm.", **message}
    return completion(choices=[{"index": 0, "message": said, "finish_reason": "stop"}])


def calling(arguments: object) -> dict[str, Any]:
    """Members of a message or delta that calls a tool."""
    return {"tool_calls": [{"index": 0, "function": {"name": "error", "arguments": arguments}}]}


def chunked(reply: Reply) -> Reply:
    """The same without its length, as proxies of many vendors send it."""
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    return replace(reply, pieces=[body])


_FINISHED_BY_ERROR = Reply(
    200,
    _JSON,
    {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "error", "message": {}}]},
)

ELSEWHERE: dict[str, Reply | bytes | str] = {
    **{
        f"status {status}": Reply(status, {"location": "https://elsewhere.example/"})
        for status in (301, 302, 303, 304, 307, 308)
    },
    **{f"status {status}": Reply(status, _JSON, b"{}") for status in (201, 202, 203, 204, 205, 206)},
    **{
        f"status {status}": error(status)
        for status in (401, 402, 403, 404, 405, 407, 408, 409, 410, 412, 421, 423, 424, 425, 429, 451, 460, 498, 499)
    },
    **{f"status {status}": error(status) for status in (500, 501, 502, 503, 504, 520, 529, 599)},
    "status 999": Reply(999),
    "status 101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "429 with x-envoy-ratelimited": error(429, x_envoy_ratelimited="true"),
    "503 with x-envoy-ratelimited": error(503, x_envoy_ratelimited="true"),
    "400 of Gemini about the key": Reply(
        400, _JSON, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}]
    ),
    "400 invalid_api_key": error(400, "invalid_api_key"),
    "400 in pieces": chunked(error(400, "invalid_api_key")),
    "400 low credit": error(400, message="Your credit balance is too low."),
    "400 arrears": error(400, "Arrearage"),
    "400 in plain words": Reply(400, {"content-type": "text/plain"}, b"Invalid API key"),
    "400 as xAI says it": Reply(400, _JSON, {"code": "c", "error": "Incorrect API key provided: xa***yz."}),
    "400 with an apostrophe": error(400, message="You don't have access: invalid API key 'xy'"),
    "400 context_length_exceeded": error(400, "context_length_exceeded"),
    "413": error(413),
    "403 moderation": error(403, message="Your input was flagged by moderation."),
    "429 too large": error(429, message="Request too large for this model"),
    "429 whose retry-after is no text": error(429, retry_after="\xff"),
    "429 without quota": error(429, "insufficient_quota"),
    "200 with an error object": Reply(200, _JSON, {"error": {"code": 502, "message": "behind us"}}),
    "200 with an error as text": Reply(200, _JSON, {"error": "overloaded"}),
    "200 that an error finished": _FINISHED_BY_ERROR,
    "200 with a filter's error": replace(error(400, "content_filter"), status=200),
    "200 with an error that is a limit": Reply(200, _JSON, {"error": {"message": "Slow down", "code": 429}}),
    "200 with an error about the key": Reply(
        200, _JSON, {"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}
    ),
    "200 empty": Reply(200, _JSON),
    "200 empty object": Reply(200, _JSON, {}),
    "200 HTML": Reply(200, {"content-type": "text/html; charset=utf-8"}, b"<html>Sign in</html>"),
    "200 text": Reply(200, {"content-type": "text/plain"}, b"ok"),
    "closed": CLOSE,
    "reset": RESET,
    "no HTTP": b"garbage\r\n\r\n",
}

FINAL: dict[str, Reply] = {
    "400": error(400, "bad_value", "Temperature is too hot."),
    "400 that speaks of keys": error(400, "bad_value", "the key 'x' of metadata is too long"),
    **{
        f"400 that quotes {words}": error(400, "bad_value", f"Field required, input: {{'content': '{words}'}}")
        for words in ("invalid api key", "invalid_api_key", "insufficient_quota", "no credit", 'x"invalid_api_key"')
    },
    "422": error(422),
    "415": error(415),
}
"""Those are about the request, so the provider's own answer passes at once."""

INSIDE: dict[str, tuple[dict[str, Any], int]] = {
    "code 400": ({"message": "n is too large", "type": "BadRequestError", "code": 400}, 400),
    "code 422 as text": ({"message": "n is too large", "code": "422"}, 422),
    "status 415": ({"message": "no audio", "status": 415}, 415),
    "type invalid_request_error": ({"message": "n is too large", "type": "invalid_request_error"}, 400),
}
"""The same in an answer that calls itself a success: the error, and the status that it is for the client."""

REFUSED_IN_STREAMS: dict[str, Reply] = {
    "vLLM's 400": events({"error": {"message": "maximum context length", "type": "BadRequestError", "code": 400}}),
    "a filter's error": events({"error": {"message": "flagged", "code": "content_filter"}}),
    "a filter's error after some text": events(chunk("At"), {"error": {"code": "data_inspection_failed"}}),
    "a named event": Reply(
        200, _SSE, pieces=[b"event:error\n:HTTP_STATUS/400\n", b'data:{"code":"DataInspectionFailed"}\n\n']
    ),
    "type invalid_request_error": events({"error": {"message": "n", "type": "invalid_request_error"}}),
    "JSON in pieces": chunked(Reply(200, _JSON, {"error": {"message": "n", "code": 400}})),
}
"""What a stream says about the request, once it has begun."""

WATCHED: dict[str, Reply] = {
    "first event an error": events({"error": {"code": 502, "message": "behind us"}}),
    "error among the choices": events({"error": {"code": 502}, **chunk("", finish_reason="error")}),
    "error of a choice": events({"choices": [{"index": 0, "delta": {}, "error": {"code": 502}}]}),
    "named event without a space": Reply(200, _SSE, pieces=[b"event:error\ndata:{}\n\n"]),
    "error in single bytes": Reply(200, _SSE, pieces=[bytes([b]) for b in b': x\n\ndata: {"error": {"code": 1}}\n\n']),
    "named event": Reply(200, _SSE, pieces=[b'event: error\ndata: {"type": "overloaded_error"}\n\n']),
    "error after some text": events(chunk("At"), {"error": {"message": "overloaded"}}),
    "error in two pieces": Reply(
        200, _SSE, pieces=[b'data: {"choices": []}\n\ndata: {"err', b'or": {"message": "x"}}\n\n']
    ),
    "finished by an error": events(chunk("At"), chunk("", finish_reason="error")),
    "only [DONE]": events(),
    "nothing at all": Reply(200, _SSE, pieces=[]),
    "JSON in pieces with an error": chunked(Reply(200, _JSON, {"error": {"message": "behind us"}})),
}
"""What is known only when the client has the beginning: it is passed on, and told from an answer all the same."""

_COMPLETION: dict[str, Any] = json.loads(json.dumps(completion().body))

GOOD: dict[str, Reply] = {
    "plain": completion(),
    "plain in pieces": chunked(completion()),
    "201": replace(completion(), status=201),
    "words about errors": completion(text='{"error": {"message": "no"}}\nevent: error\n<html>'),
    "error: null": completion(error=None),
    "error: empty string": completion(error=""),
    "error: empty object": completion(error={}),
    "error: members that are empty": completion(error={"message": "", "type": "", "param": {}, "code": None}),
    "a tool of the vendor failed": choice(executed_tools=[{"type": "search", "error": "timed out"}]),
    "arguments as an object": choice(**calling({"error": "disk full", "finish_reason": "error"})),
    "arguments as an object, in pieces": chunked(choice(**calling({"error": "disk full"}))),
    "arguments as text": choice(**calling('{"error": "disk full"}')),
    "larger than is held": completion(text="x" * 200_000),
    "choices late": Reply(200, _JSON, {"prompt_logprobs": "x" * 200_000} | _COMPLETION),
    "blank lines first": replace(completion(), body=b"\n" * 100 + json.dumps(completion().body).encode()),
    "JSON that calls itself a page": replace(completion(), headers={"content-type": "text/html; charset=utf-8"}),
    "indented": replace(completion(), body=json.dumps(completion().body, indent=2).encode()),
    "streamed": events(chunk("At home"), chunk("", finish_reason="stop")),
    "streamed with error: empty": events({**chunk("At home"), "error": ""}),
    "streamed arguments as an object": events({"choices": [{"index": 0, "delta": calling({"error": "full"})}]}),
    "streamed arguments in single bytes": Reply(
        200,
        _SSE,
        pieces=[bytes([b]) for b in b'data: {"choices": [{"delta": {"arguments": {"error": {"code": 1}}}}]}\r\n\r\n'],
    ),
    "streamed comments first": Reply(
        200, _SSE, pieces=[b": PROCESSING\n\n", b'data: {"choices": [], "error": {', b"}}\n\n"]
    ),
    "streamed words about errors": events(chunk('"error": {"finish_reason": "error"}\n\nevent: error'), chunk("!")),
}


@dataclass
class Pair:
    """Two providers on raw sockets; new conversations are asked of `a` first."""

    stage: Stage
    a: Upstream
    b: Upstream

    async def ask(self, text: str, stream: bool = False) -> Raw:
        """One request of the conversation that begins so."""
        order = {"order": [self.stage.provider("a"), self.stage.provider("b")]}
        messages = [say(LONG, "system"), say(text)]
        body: dict[str, Any] = {"model": self.stage.model, "messages": messages, "provider": order}
        return await self.stage.post(body | ({"stream": True} if stream else {}))

    def asked(self) -> tuple[int, int]:
        """Requests at each."""
        return len(self.a.got), len(self.b.got)

    async def out(self, name: str) -> bool:
        """Whether something is held against a provider."""
        return await self.stage.metric("limpet_provider_out", provider=self.stage.provider(name)) == 1.0


@pytest_asyncio.fixture(loop_scope="session")
async def pair(stage: Stage) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(Upstream()) for _ in "ab"]
        await stage.serve(
            "a", "b", specs={"a": {"url": a.url}, "b": {"url": b.url}}, policy={"clientOrder": "StickyWithin"}
        )
        yield Pair(stage, a, b)


def always(reply: Reply | bytes | str) -> Script:
    return lambda _: reply


@pytest.mark.parametrize("reply", ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_what_is_no_answer_is_asked_of_the_next_provider_and_the_conversation_lives_there(
    pair: Pair, reply: Reply | bytes | str
) -> None:
    pair.a.script = always(reply)
    answer = await pair.ask("Hold fast")
    assert (answer.status, answer.headers["x-limpet-provider"]) == (200, pair.stage.provider("b"))
    assert "location" not in answer.headers
    await pair.stage.settle()
    pair.a.script = always(completion())
    before = pair.asked()
    again = await pair.ask("Hold fast")
    assert again.headers["x-limpet-decision"] == "sticky.within"
    assert again.headers["x-limpet-provider"] == pair.stage.provider("b")
    assert pair.asked() == (before[0], before[1] + 1)


@pytest.mark.parametrize("reply", FINAL.values(), ids=FINAL.keys())
async def test_what_is_about_the_request_passes_at_once_and_is_held_against_nobody(pair: Pair, reply: Reply) -> None:
    pair.a.script = always(reply)
    for _ in range(4):
        answer = await pair.ask("Wrong")
        assert (answer.status, json.loads(answer.body)) == (reply.status, reply.body)
    assert pair.asked() == (4, 0)
    await pair.stage.settle()
    assert not await pair.out("a")


@pytest.mark.parametrize(("inside", "status"), INSIDE.values(), ids=INSIDE.keys())
async def test_a_fault_of_the_request_inside_a_200_passes_as_what_it_is_and_is_held_against_nobody(
    pair: Pair, inside: dict[str, Any], status: int
) -> None:
    pair.a.script = always(Reply(200, _JSON, {"error": inside}))
    for _ in range(4):
        answer = await pair.ask("Wrong")
        assert (answer.status, json.loads(answer.body)) == (status, {"error": inside})
        tried = f"{pair.stage.provider('a')} 200 with an error {status}"
        assert answer.headers["x-limpet-tried"] == tried
    assert pair.asked() == (4, 0)
    await pair.stage.settle()
    assert not await pair.out("a")


@pytest.mark.parametrize("reply", REFUSED_IN_STREAMS.values(), ids=REFUSED_IN_STREAMS.keys())
async def test_a_fault_of_the_request_within_a_stream_is_held_against_nobody(pair: Pair, reply: Reply) -> None:
    pair.a.script = always(reply)
    for _ in range(4):
        assert (await pair.ask("Wrong", stream=True)).status == 200
    await pair.stage.settle()
    assert not await pair.out("a")


async def test_content_that_all_refuse_inside_a_200_is_the_clients_to_change(pair: Pair) -> None:
    refused = Reply(200, _JSON, {"error": {"message": "Flagged.", "code": "content_filter", "type": "t"}})
    pair.a.script = pair.b.script = always(refused)
    for _ in range(4):
        answer = await pair.ask("Wrong")
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "content_filter")
        assert json.loads(answer.body)["error"]["message"].startswith("Flagged. (")
    await pair.stage.settle()
    assert not await pair.out("a")
    assert not await pair.out("b")


@pytest.mark.parametrize("reply", WATCHED.values(), ids=WATCHED.keys())
async def test_a_broken_stream_is_passed_on_and_neither_remembered_nor_a_success(pair: Pair, reply: Reply) -> None:
    pair.a.script = always(reply)
    answer = await pair.ask("Stream", stream=True)
    assert answer.status == 200
    assert answer.headers["x-limpet-provider"] == pair.stage.provider("a")
    await pair.stage.settle()
    pair.a.script = always(completion())
    again = await pair.ask("Stream", stream=True)
    assert again.headers["x-limpet-decision"] == "bypass.order", "nothing is warm"
    pair.a.script = always(reply)
    for number in range(3):
        await pair.ask(f"Stream {number}", stream=True)
    await pair.stage.out("a")


@pytest.mark.parametrize("reply", GOOD.values(), ids=GOOD.keys())
async def test_a_good_answer_passes_byte_for_byte_but_for_its_model_and_is_remembered(pair: Pair, reply: Reply) -> None:
    pair.a.script = always(reply)
    stream = reply.headers == _SSE
    answer = await pair.ask("Good", stream=stream)
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    sent = body if reply.pieces is None else b"".join(piece for piece in reply.pieces if isinstance(piece, bytes))
    named = sent.replace(b'"model": "m"', b'"model": "%s"' % pair.stage.model.encode())
    assert (answer.status, answer.body) == (reply.status, named)
    await pair.stage.settle()
    assert (await pair.ask("Good", stream=stream)).headers["x-limpet-decision"] == "sticky.within"
    assert pair.asked() == (2, 0)


_GONE = error(404, message="Conversation with id 'conv_zz' not found.")


async def test_what_the_request_names_and_nobody_knows_is_the_clients_to_know(pair: Pair) -> None:
    pair.a.script = pair.b.script = always(_GONE)
    for _ in range(4):
        answer = await pair.ask("Go on")
        assert (answer.status, answer.json["error"]["code"]) == (404, "x")
        assert answer.json["error"]["message"].startswith("Conversation with id 'conv_zz' not found. (")
    pair.a.script = pair.b.script = always(completion())
    await pair.stage.settle()
    assert (await pair.ask("Still well?")).headers["x-limpet-decision"] != "last_resort.all_out"


async def test_one_provider_alone_says_so_in_its_own_words(stage: Stage) -> None:
    async with Upstream(always(_GONE)) as upstream:
        await stage.serve("a", specs={"a": {"url": upstream.url}})
        answer = await stage.post({"model": stage.model, "messages": [say("Go on")]})
        assert (answer.status, answer.json) == (404, _GONE.body)


async def test_an_api_that_is_not_there_is_asked_elsewhere_and_hinders_no_other(stage: Stage) -> None:
    def lacks_messages(got: Got) -> Reply:
        return anything(got) if got.target.endswith("/chat/completions") else Reply(404, _JSON, {"detail": "Not Found"})

    async with Upstream(lacks_messages) as a, Upstream(anything) as b:
        specs = {"a": {**SPEAKS, "url": a.url}, "b": {**SPEAKS, "url": b.url, "weight": 0}}
        await stage.serve("a", "b", specs=specs)
        for turn in range(6):
            sent = {"model": stage.model, "max_tokens": 9, "messages": [say(f"Hi {turn}")]}
            assert (await stage.post(sent, path="/v1/messages")).status == 200
        await stage.settle()
        answer = await stage.post({"model": stage.model, "messages": [say("Hi")]})
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("a"))


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (error(401, message="Incorrect API key provided: sk-live-abc****wxyz"), 502),
        (error(402), 502),
        (error(403, message="This key may not do that"), 502),
        (error(404, message="The model m does not exist"), 503),
        (error(400, "invalid_api_key", message="sk-live-abc****wxyz"), 502),
        (error(409), 502),
        (error(401, message="x" * 100_000), 502),
        (chunked(error(401, message="x" * 100_000)), 502),
        (Reply(200, {"content-type": "text/html"}, b"<html>" + b"x" * 100_000), 502),
        (Reply(308, {"location": "https://inner.example/"}), 502),
        (Reply(204), 502),
        (Reply(200, _JSON, {"error": {"message": "behind us"}}), 502),
        (Reply(200, {"content-type": "text/html"}, b"<html>"), 502),
    ],
    ids=lambda each: str(each.status if isinstance(each, Reply) else each),
)
async def test_what_is_between_us_and_the_providers_is_no_error_of_the_client(
    pair: Pair, reply: Reply, status: int
) -> None:
    pair.a.script = pair.b.script = always(reply)
    answer = await pair.ask("Anybody?")
    assert answer.status == status
    assert not {"location", "www-authenticate", "x-envoy-ratelimited", "x-limpet-attempt"} & set(answer.headers)
    assert "sk-live" not in answer.body.decode()
    if reply.body:
        told = json.loads(answer.body)["error"]
        ours = reply.status in (401, 402, 403, 400)
        code = "provider_credential_refused" if ours else "no_provider_available"
        assert (told["code"], told["type"]) == (code, "server_error")
        assert f", {pair.stage.provider('b')} {reply.status}" in told["message"]
    assert pair.asked() == (1, 1)


@pytest.mark.parametrize(("status", "out"), [(429, True), (529, True), (503, False), (500, False)])
async def test_a_limit_or_fault_that_all_share_is_told_in_the_last_ones_own_words(
    pair: Pair, status: int, out: bool
) -> None:
    """Limits count at once; a fault may be the request's own doing, so repeating it shows nothing."""
    pair.a.script = pair.b.script = always(error(status, retry_after="120"))
    for _ in range(4):
        answer = await pair.ask("Too much")
        assert (answer.status, answer.headers["retry-after"]) == (status, "120")
    await pair.stage.settle()
    assert [await pair.out("a"), await pair.out("b")] == [out, out]


async def test_one_models_limit_leaves_the_others_where_they_are(pair: Pair) -> None:
    pair.a.script = always(error(429, retry_after="60"))
    await pair.ask("Limited")
    await pair.stage.out("a")
    assert (await pair.ask("New")).headers["x-limpet-provider"] == pair.stage.provider("b")


@pytest.mark.parametrize("end", [RESET, CLOSE])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_connection_that_closes_as_it_is_used_again_costs_neither_provider_nor_conversation_anything(
    pair: Pair, end: str, stream: bool
) -> None:
    pair.a.script = lambda got: end if got.on_connection > 1 else events(chunk("x")) if stream else completion()
    for turn in range(6):
        answer = await pair.ask("Turns", stream=stream)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, pair.stage.provider("a")), turn
        await pair.stage.settle()
    assert pair.asked()[1] == 0
    assert not await pair.out("a")


@pytest.mark.parametrize("first", [error(503), RESET, None], ids=["answers 503", "resets", "is away"])
@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_provider_that_is_asked_after_another_is_asked_once_more_too(
    stage: Stage, first: Reply | str | None, end: str
) -> None:
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(Upstream()) for name in "abc"}
        urls = {name: {"url": server.url} for name, server in servers.items()}
        if first is None:
            urls["a"] = {"url": "http://127.0.0.1:9"}
        else:
            servers["a"].script = always(first)
        await stage.serve("a", "b", "c", specs=urls, policy={"clientOrder": "StickyWithin"})
        servers["b"].script = lambda _: end if len(servers["b"].got) == 1 else completion()
        body = {"model": stage.model, "messages": [say("Once more")]}
        answer = await stage.post({**body, "provider": {"order": [stage.provider(name) for name in "abc"]}})
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
        assert answer.headers["x-limpet-attempts"] == ("3" if first == error(503) else "4")
        assert [len(servers[name].got) for name in "bc"] == [2, 0]
        await stage.settle()
        assert await stage.metric("limpet_provider_out", provider=stage.provider("b")) != 1.0
