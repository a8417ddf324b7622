"""What a client may get wrong: each has its status, an error in OpenAI's shape that names the field, no aftermath."""

import asyncio
import gzip
import json
from typing import Any

import openai
import pytest
from tests.envoy.cast import PLAIN, body_of, say
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_CHAT = "/v1/chat/completions"
_M = json.dumps([say("Hi")])


def _error(body: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    return error


_DEEP = 20_000  # more than any Python reads: the limit is its own, 1,000 levels in 3.11 and ten times as many later

_BAD: dict[str, tuple[str | bytes, str | None, str]] = {
    "empty": (b"", None, "no body"),
    "not JSON": ("model: plain", None, "not valid JSON"),
    "cut off": ('{"model":"plain","messages":[', None, "not valid JSON"),
    "two documents": ('{"model":"plain","messages":' + _M + "} {}", None, "not valid JSON"),
    "an array": ("[1, 2]", None, "object"),
    "a string": ('"plain"', None, "object"),
    "null": ("null", None, "object"),
    "no model": ('{"messages":' + _M + "}", "model", "missing"),
    "empty model": ('{"model":"","messages":' + _M + "}", "model", "empty"),
    "model a number": ('{"model":4,"messages":' + _M + "}", "model", "str"),
    "model null": ('{"model":null,"messages":' + _M + "}", "model", "str"),
    "no messages": ('{"model":"plain"}', "messages", "missing"),
    "messages empty": ('{"model":"plain","messages":[]}', "messages", "empty"),
    "messages an object": ('{"model":"plain","messages":{}}', "messages", "array"),
    "messages a string": ('{"model":"plain","messages":"Hi"}', "messages", "array"),
    "a message a string": ('{"model":"plain","messages":["Hi"]}', "messages[0]", "object"),
    "no role": ('{"model":"plain","messages":[{"content":"Hi"}]}', "messages[0].role", "missing"),
    "role a number": ('{"model":"plain","messages":[{"role":1,"content":"Hi"}]}', "messages[0].role", "str"),
    "user a number": ('{"model":"plain","user":7,"messages":' + _M + "}", "user", "str"),
    "session_id a list": ('{"model":"plain","session_id":[],"messages":' + _M + "}", "session_id", "str"),
    "prompt_cache_key a number": (
        '{"model":"plain","prompt_cache_key":1,"messages":' + _M + "}",
        "prompt_cache_key",
        "str",
    ),
    "max_tokens a string": ('{"model":"plain","max_tokens":"9","messages":' + _M + "}", "max_tokens", "int"),
    "stream a string": ('{"model":"plain","stream":"yes","messages":' + _M + "}", "stream", "bool"),
    "provider a string": ('{"model":"plain","provider":"a","messages":' + _M + "}", "provider", "object"),
    "provider.order a string": (
        '{"model":"plain","provider":{"order":"a"},"messages":' + _M + "}",
        "provider.order",
        "a list of providers' names",
    ),
    "provider.only numbers": (
        '{"model":"plain","provider":{"only":[1]},"messages":' + _M + "}",
        "provider.only",
        "a provider's name",
    ),
    "provider.sort unknown": (
        '{"model":"plain","provider":{"sort":"luck"},"messages":' + _M + "}",
        "provider.sort",
        "luck",
    ),
    "allow_fallbacks a string": (
        '{"model":"plain","allow_fallbacks":"no","messages":' + _M + "}",
        "allow_fallbacks",
        "bool",
    ),
    "invalid UTF-8": (b'{"model":"plain","messages":[{"role":"user","content":"\xff\xfe"}]}', None, "UTF-8"),
    "a lone surrogate in UTF-8": (
        b'{"model":"plain","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
        None,
        "UTF-8",
    ),
    "deep nesting": (
        '{"model":"plain","metadata":' + "[" * _DEEP + "]" * _DEEP + ',"messages":' + _M + "}",
        None,
        "deep",
    ),
    "deep content": (
        '{"model":"plain","messages":[{"role":"user","content":' + "[" * _DEEP + "]" * _DEEP + "}]}",
        None,
        "deep",
    ),
}


@pytest.mark.parametrize(("body", "param", "says"), _BAD.values(), ids=_BAD.keys())
async def test_a_wrong_request_is_explained_and_harms_nobody(
    stage: Stage, body: str | bytes, param: str | None, says: str
) -> None:
    await stage.serve("a")
    answer = await stage.post(body.encode() if isinstance(body, str) else body)
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/json"
    error = _error(answer.body)
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param or ""), error
    assert (error["param"] is None) == (param is None), error
    assert says in error["message"], error
    assert not await stage.arrivals("a")
    assert (await stage.ask("Still alive?")).text


async def test_an_unknown_model_is_a_404_that_lists_what_there_is(stage: Stage) -> None:
    await stage.serve("a")
    with pytest.raises(openai.NotFoundError) as refusal:
        await stage.ask("Hello", model="no-such-model")
    assert refusal.value.code == "model_not_found"
    assert refusal.value.param == "model"
    assert stage.model in refusal.value.message
    assert PLAIN in refusal.value.message
    assert refusal.value.response.headers["x-limpet-decision"] == "refused.unknown_model"


async def test_the_sdk_raises_its_own_type_for_a_wrong_field(stage: Stage) -> None:
    await stage.serve("a")
    with pytest.raises(openai.BadRequestError) as refusal:
        await stage.ask("Hello", extra={"provider": {"order": 5}})
    assert refusal.value.param == "provider.order"
    assert refusal.value.response.headers["x-limpet-decision"] == "refused.bad_request"


async def test_a_compressed_body_is_refused_with_what_to_do(stage: Stage) -> None:
    await stage.serve("a")
    body = gzip.compress(json.dumps({"model": PLAIN, "messages": [say("Hi")]}).encode())
    answer = await stage.post(body, headers={"content-encoding": "gzip"})
    assert answer.status == 415
    assert "uncompressed" in _error(answer.body)["message"]


async def test_ten_thousand_messages_are_a_request_like_any_other(stage: Stage) -> None:
    await stage.serve("a")
    messages = [say("word", "assistant" if number % 2 else "user") for number in range(10_000)]
    body = json.dumps({"model": PLAIN, "messages": messages}).encode()
    answer = await stage.post(body)
    assert answer.status == 200, answer.body[:500]
    assert body_of((await stage.arrivals("a"))[-1]) == body


@pytest.mark.parametrize("key", ["model", "mod\\u0065l", "\\u006Dodel"])
async def test_a_model_that_stands_there_twice_cannot_be_renamed(stage: Stage, key: str) -> None:
    await stage.serve("a")
    body = f'{{"model":"{stage.model}","messages":{_M},"{key}":"{stage.model}"}}'
    answer = await stage.post(body.encode())
    assert answer.status == 400, answer.body
    error = _error(answer.body)
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert "more than once" in error["message"]
    assert not await stage.arrivals("a")


async def test_what_stands_there_twice_and_is_not_read_here_is_the_providers_affair(stage: Stage) -> None:
    await stage.serve("a")
    body = ('{"model":"plain","temperature":0,"messages":' + _M + ',"temperature":1}').encode()
    assert (await stage.post(body)).status == 200
    assert body_of((await stage.arrivals("a"))[-1]) == body


async def test_moderate_nesting_is_nobodys_business(stage: Stage) -> None:
    await stage.serve("a")
    body = ('{"model":"plain","metadata":' + "[" * 200 + "]" * 200 + ',"messages":' + _M + "}").encode()
    answer = await stage.post(body)
    assert answer.status == 200, answer.body
    assert body_of((await stage.arrivals("a"))[-1]) == body


async def test_without_any_provider_the_gateway_says_so(stage: Stage) -> None:
    await stage.serve("a")
    stage.gateway.apply(stage.planned([], {}))
    answer = await stage.post({"model": stage.model, "messages": [say("Hi")]})
    while answer.status in (200, 404):
        answer = await stage.post({"model": stage.model, "messages": [say("Hi")]})
    assert answer.status == 503
    assert _error(answer.body)["code"] == "no_provider_available"


async def test_a_request_with_a_header_that_is_not_utf_8_is_refused_by_its_name(stage: Stage) -> None:
    await stage.serve("a")
    host, _, port = stage.origin.removeprefix("http://").partition(":")
    body = json.dumps({"model": PLAIN, "messages": [say("Hi")]}).encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nuser-agent: caf\xe9 \x80\r\n")
    writer.write(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
    answer = (await reader.read()).decode("latin-1")
    writer.close()
    assert answer.startswith("HTTP/1.1 400")
    assert "x-limpet-decision: refused.bad_request" in answer
    assert "the header 'user-agent' is not UTF-8" in answer
    assert not await stage.arrivals("a")
