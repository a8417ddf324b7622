"""The raw upstream itself: what the stories rely on when they look at bytes."""

import asyncio

import aiohttp
import pytest
from tests.envoy.upstream import CLOSE, RESET, Reply, Script, Upstream, completion, events


async def _post(upstream: Upstream, body: bytes, **headers: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.post(upstream.url, data=body, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_it_keeps_what_it_got_byte_for_byte() -> None:
    async with Upstream() as upstream:
        status, _ = await _post(upstream, b'{"a" : 1}', **{"X-Odd": "1"})
    (got,) = upstream.got
    assert (status, got.body, got.target, got.header("x-odd")) == (200, b'{"a" : 1}', "/v1", "1")
    assert b"X-Odd: 1" in got.head


async def test_requests_on_one_connection_are_counted() -> None:
    async with Upstream() as upstream, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(upstream.url, data=b"{}") as answer:
                await answer.read()
    assert [(got.connection, got.on_connection) for got in upstream.got] == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (Reply(503, {"content-length": "2"}, b"no"), 503, b"no"),
        (events({"a": 1}), 200, b'data: {"a": 1}\n\ndata: [DONE]\n\n'),
        (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", 404, b""),
    ],
    ids=["status", "events", "raw"],
)
async def test_it_answers_what_the_script_says(reply: Reply | bytes, status: int, body: bytes) -> None:
    async with Upstream(lambda _: reply) as upstream:
        assert await _post(upstream, b"{}") == (status, body)


async def test_a_completion_has_usage_unless_told_otherwise() -> None:
    assert b'"prompt_tokens": 1500' in (await _ask(lambda _: completion()))
    assert b"usage" not in (await _ask(lambda _: completion(usage=None)))


async def _ask(script: Script) -> bytes:
    async with Upstream(script) as upstream:
        return (await _post(upstream, b"{}"))[1]


@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_connection_can_end_before_the_answer(end: str) -> None:
    async with Upstream(lambda _: end) as upstream:
        with pytest.raises(aiohttp.ClientError):
            await _post(upstream, b"{}")


async def test_a_stream_can_be_cut() -> None:
    cut = Reply(pieces=[b"first", 0.01], cut=True)
    async with Upstream(lambda _: cut) as upstream:
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await asyncio.wait_for(_post(upstream, b"{}"), 10)
