"""Sellers as a client sees them: the official SDK and plain HTTP against real processes."""

import gzip
from base64 import b64decode
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import openai
import pytest
import pytest_asyncio

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.prices import PriceList
from limpet_lab.sim.rules import Auth
from limpet_lab.sim.sellers import Seller, Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_PRICES = PriceList(input=Decimal("0.15"), output=Decimal("0.60"), cache_read=Decimal("0.003"))
_DEAR = msgspec.convert(
    {
        "input": "1",
        "output": "2",
        "cacheWrite": "1.25",
        "cacheWrite1h": "2.5",
        "longContext": [{"aboveTokens": 1000, "factor": "2"}],
        "serviceTiers": {"flex": "0.5"},
        "windows": [{"name": "always", "from": "00:00", "to": "23:59", "factor": "3"}],
    },
    PriceList,
)
_LONG = "The rock remembers the foot that comes back to it. " * 200
_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


def _config(vendor: str, **more: Any) -> SellerConfig:
    return SellerConfig(
        name=vendor,
        vendor=vendor,
        models=(SellerModel("m"),),
        api_keys=("one", "two"),
        prices=_PRICES,
        record=True,
        **more,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Sellers]:
    configs = [
        _config("DeepSeek"),
        _config("OpenAI", credential=Auth("x-api-key", "Raw")),
        _config("Moonshot"),
        _config("VLLM", strict=False),
        msgspec.structs.replace(_config("OpenAI"), name="priced", prices=_DEAR),
    ]
    async with Sellers.start(configs) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(headers={"authorization": "Bearer one", "x-api-key": "one"}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def client(sellers: Sellers) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sellers["DeepSeek"].base_url, api_key="one", max_retries=0) as sdk:
        yield sdk


def _messages(system: str = _LONG, user: str = "Where is home?") -> list[Any]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


async def _post(http: httpx.AsyncClient, seller: Seller, body: dict[str, Any]) -> httpx.Response:
    return await http.post(seller.base_url + "/chat/completions", json={"model": "m", "messages": _messages(), **body})


async def test_turns_of_a_conversation_with_the_sdk(client: openai.AsyncOpenAI, sellers: Sellers) -> None:
    messages = _messages()
    first = await client.chat.completions.create(model="m", messages=messages)
    assert first.usage is not None
    assert first.choices[0].finish_reason == "stop"
    assert 40 <= first.usage.completion_tokens <= 60
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "And then?"},
    ]
    second = await client.chat.completions.create(model="m", messages=messages)
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert cached is not None
    assert first.usage.prompt_tokens // 256 * 256 <= cached < second.usage.prompt_tokens
    report = await sellers["DeepSeek"].ledger()
    assert [(row.cached > 0, row.complete, row.account) for row in report.rows] == [
        (False, True, "key-1"),
        (True, True, "key-1"),
    ]
    assert report.totals.usd == sum((row.usd for row in report.rows if row.usd), Decimal(0)) > 0
    assert report.totals.prompt == first.usage.prompt_tokens + second.usage.prompt_tokens


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_reports_usage_only_when_asked(client: openai.AsyncOpenAI, asked: bool) -> None:
    more: Any = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await client.chat.completions.create(model="m", messages=_messages(), stream=True, **more)
    chunks = [chunk async for chunk in stream]
    whole = await client.chat.completions.create(model="m", messages=_messages())
    content = [chunk for chunk in chunks if chunk.choices]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in content) == whole.choices[0].message.content
    assert 8 <= sum(1 for chunk in content if chunk.choices[0].delta.content) <= 16
    assert content[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in content)
    assert all(("usage" in chunk.model_fields_set) is asked for chunk in content)
    assert [chunk.usage is not None for chunk in chunks if not chunk.choices] == ([True] if asked else [])


async def test_max_tokens_cuts_the_answer(client: openai.AsyncOpenAI) -> None:
    short = await client.chat.completions.create(model="m", messages=_messages(), max_tokens=5)
    assert short.usage is not None
    assert (short.usage.completion_tokens, short.choices[0].finish_reason) == (5, "length")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_forced_tool_is_called(client: openai.AsyncOpenAI, stream: bool) -> None:
    forced: Any = {"tools": [_WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    if stream:
        deltas = [
            chunk.choices[0].delta
            async for chunk in await client.chat.completions.create(
                model="m", messages=_messages(), stream=True, **forced
            )
        ]
        calls = [call.function for delta in deltas for call in delta.tool_calls or [] if call.function]
        name, arguments = calls[0].name, "".join(call.arguments or "" for call in calls)
    else:
        answer = await client.chat.completions.create(model="m", messages=_messages(), **forced)
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert answer.choices[0].finish_reason == "tool_calls"
        name, arguments = call.function.name, call.function.arguments
    assert (name, arguments) == ("weather", '{"city":"sample","days":1}')


@pytest.mark.parametrize(
    ("vendor", "cold", "warm"),
    [
        (
            "DeepSeek",
            {"prompt_cache_hit_tokens": 0},
            {"prompt_cache_hit_tokens": 3328, "prompt_tokens_details": {"cached_tokens": 3328}},
        ),
        ("Moonshot", {"cached_tokens": 0}, {"cached_tokens": 3328}),
        ("VLLM", {}, {}),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_usage_has_the_vendors_own_shape(
    http: httpx.AsyncClient, sellers: Sellers, vendor: str, cold: dict[str, Any], warm: dict[str, Any], stream: bool
) -> None:
    body = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    for wanted in (cold, warm):
        answer = await _post(http, sellers[vendor], body)
        data = answer.text.split("data: ")[-2] if stream else answer.text
        usage = httpx.Response(200, text=data).json()["usage"]
        assert wanted.items() <= usage.items()
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert ("prompt_tokens_details" in usage) is (vendor == "DeepSeek")
        assert usage.get("prompt_cache_miss_tokens", usage["prompt_tokens"]) == usage["prompt_tokens"] - usage.get(
            "prompt_cache_hit_tokens", 0
        )


async def test_openai_reports_what_was_written(http: httpx.AsyncClient, sellers: Sellers) -> None:
    details = [(await _post(http, sellers["OpenAI"], {})).json()["usage"]["prompt_tokens_details"] for _ in range(2)]
    assert details[0]["cached_tokens"] == 0
    assert details[0]["cache_write_tokens"] == details[1]["cached_tokens"] > 3000
    assert details[1]["cache_write_tokens"] == 0


async def test_the_bill_follows_the_hour_the_length_the_tier_and_the_lifetime(
    http: httpx.AsyncClient, sellers: Sellers
) -> None:
    seller = sellers["priced"]
    options = {"prompt_cache_options": {"ttl": "12h"}}
    await _post(http, seller, {"service_tier": "flex", **options})
    await _post(http, seller, {"messages": _messages("short")})
    long, short = (await seller.ledger()).rows
    assert (long.written_long, short.written) == (long.written, 0)
    hours = {"always": Decimal(3), "": Decimal(1)}
    plain = long.prompt - long.written
    million = Decimal(1_000_000)
    wanted = (plain + long.written * Decimal("2.5") + long.output * 2) * 2 * Decimal("0.5") * hours[long.window]
    assert long.usd == wanted / million
    assert short.usd == (short.prompt + short.output * 2) * hours[short.window] / million


async def test_accounts_do_not_share_a_cache(http: httpx.AsyncClient, sellers: Sellers) -> None:
    seen = []
    for key in ("one", "two", "one"):
        answer = await http.post(
            sellers["DeepSeek"].base_url + "/chat/completions",
            json={"model": "m", "messages": _messages()},
            headers={"authorization": f"Bearer {key}"},
        )
        seen.append(answer.json()["usage"]["prompt_cache_hit_tokens"] > 0)
    assert seen == [False, False, True]


@pytest.mark.parametrize("value", ["Bearer wrong", "one", "bearer one", "Bearer one more", "Basic one", None])
@pytest.mark.parametrize("path", ["/models", "/chat/completions"])
async def test_a_wrong_key_is_401(sellers: Sellers, value: str | None, path: str) -> None:
    headers = {} if value is None else {"authorization": value}
    async with httpx.AsyncClient(base_url=sellers["Moonshot"].base_url, headers=headers) as http:
        answer = await (
            http.get(path) if path == "/models" else http.post(path, json={"model": "m", "messages": _messages()})
        )
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_authentication_error"


async def test_a_key_in_a_header_of_its_own(sellers: Sellers) -> None:
    async with httpx.AsyncClient(base_url=sellers["OpenAI"].base_url) as http:
        right = await http.get("/models", headers={"x-api-key": "two"})
        wrong = await http.get("/models", headers={"authorization": "Bearer two"})
    assert (right.status_code, wrong.status_code) == (200, 401)
    assert right.json()["data"][0]["id"] == "m"
    assert wrong.json()["error"] == {
        "message": "The API key in x-api-key is missing.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


async def test_errors_reach_the_sdk_as_its_own_exceptions(client: openai.AsyncOpenAI, sellers: Sellers) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="other", messages=_messages())
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: provider"):
        await client.chat.completions.create(model="m", messages=_messages(), extra_body={"provider": {"order": ["a"]}})
    assert unknown.value.code == "model_not_found"
    assert (await sellers["DeepSeek"].ledger()).errors == {"404": 1, "400": 1}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/chat/completions", 405), ("POST", "/models", 405), ("POST", "/completions", 404)],
)
async def test_other_paths_and_methods_get_an_error_object(
    http: httpx.AsyncClient, sellers: Sellers, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, sellers["DeepSeek"].base_url + path)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert ("allow" in answer.headers) is (status == 405)


async def test_a_compressed_body_is_kept_as_it_came_and_refused(http: httpx.AsyncClient, sellers: Sellers) -> None:
    packed = gzip.compress(b'{"model": "m"}')
    answer = await http.post(
        sellers["DeepSeek"].base_url + "/chat/completions", content=packed, headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 400
    assert b64decode((await sellers["DeepSeek"].requests())[-1].body) == packed


async def test_a_body_beyond_the_limit_is_413(http: httpx.AsyncClient) -> None:
    async with Sellers.start([SellerConfig(name="small", models=(SellerModel("m"),), max_body_bytes=1000)]) as started:
        answer = await http.post(started["small"].base_url + "/chat/completions", content=b"x" * 2000)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_lenient_seller_takes_unknown_fields(http: httpx.AsyncClient, sellers: Sellers) -> None:
    assert (await _post(http, sellers["VLLM"], {"provider": {}})).status_code == 200


async def test_images_are_accepted(client: openai.AsyncOpenAI) -> None:
    picture: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    seen = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": picture}])
    assert seen.usage is not None
    assert seen.usage.prompt_tokens > 256


async def test_raw_requests_are_kept_byte_for_byte(http: httpx.AsyncClient, sellers: Sellers) -> None:
    body = b'{ "messages":[{"role":"user","content":"caf\\u00e9 \xc3\xa9"}],\n "model" : "m"}'
    await http.post(sellers["VLLM"].base_url + "/chat/completions", content=body, headers={"X-Twice": "a"})
    await http.get(sellers["VLLM"].origin + "/elsewhere?x=1")
    arrival, other = await sellers["VLLM"].requests()
    assert b64decode(arrival.body) == body
    assert ("X-Twice", "a") in arrival.headers
    assert (arrival.method, arrival.path) == ("POST", "/v1/chat/completions")
    assert (other.method, other.path, other.body) == ("GET", "/elsewhere?x=1", "")
