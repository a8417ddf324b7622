"""A client that leaves ends the provider's work for it at once, wherever its request is: the work costs money."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from tests.envoy.cast import LONG, say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.stage import Stage
from tests.envoy.test_answers import chunk
from tests.envoy.upstream import HANG, Got, Reply, Upstream, completion, events
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_SLOW: Final = {"timeouts": {"firstByte": "10m", "unstreamed": "10m", "idle": "10m"}}
"""Longer than any story waits."""

_ABANDONED: Final = 7
"""The `seed` of the request whose client leaves, by which its attempts are told from others."""

Leave = Callable[[], None]


@asynccontextmanager
async def _by_http1(stage: Stage, body: bytes) -> AsyncIterator[Leave]:
    _, writer = await asyncio.open_connection("127.0.0.1", int(stage.origin.rsplit(":", 1)[1]))
    head = f"authorization: Bearer {stage.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{head}".encode() + body)
    try:
        yield writer.close
    finally:
        writer.close()


@asynccontextmanager
async def _by_http2(stage: Stage, body: bytes) -> AsyncIterator[Leave]:
    """Only the stream ends; its connection goes on."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(stage.origin.rsplit(":", 1)[1]))
    http = H2Connection(H2Configuration(client_side=True))
    http.initiate_connection()
    head = [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http"), (":authority", "localhost")]
    http.send_headers(1, [*head, ("authorization", f"Bearer {stage.key}")])
    http.send_data(1, body, end_stream=True)
    writer.write(http.data_to_send())

    def leave() -> None:
        http.reset_stream(1, ErrorCodes.CANCEL)
        writer.write(http.data_to_send())

    try:
        yield leave
    finally:
        writer.close()


def _body(stage: Stage, *, stream: bool, **fields: Any) -> bytes:
    body = {"model": stage.model, "messages": [say(LONG, "system"), say("Never mind")], "stream": stream, **fields}
    return json.dumps(body).encode()


def _begun(_: Got) -> Reply:
    pieces = [event for event in events(chunk("Half"), done=False).pieces or () if event]
    return Reply(headers={"content-type": "text/event-stream"}, pieces=pieces, stalls=True)


def _head(_: Got) -> Reply:
    """Some vendors send a blank line now and then while they work on a whole answer."""
    return Reply(headers={"content-type": "application/json"}, pieces=[b"\n"], stalls=True)


def _silent(_: Got) -> str:
    return HANG


@pytest.mark.parametrize("client", [_by_http1, _by_http2], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(
    ("script", "stream"),
    [(_silent, False), (_head, False), (_silent, True), (_begun, True)],
    ids=["before a whole answer", "within a whole answer", "before a stream", "within a stream"],
)
async def test_the_provider_is_left_at_once_and_nothing_is_held_against_it(
    stage: Stage, client: Any, script: Any, stream: bool
) -> None:
    async with Upstream(script) as a, Upstream() as b:
        await stage.serve("a", "b", specs={"a": {"url": a.url, **_SLOW}, "b": {"url": b.url, "weight": 0, **_SLOW}})
        for number in range(1, 4):
            async with client(stage, _body(stage, stream=stream)) as leave:
                await until(lambda number=number: len(a.got) == number, "the request to arrive")
                assert a.left == number - 1
                leave()
                await until(lambda number=number: a.left == number, "the provider's connection to end", timeout_s=5.0)
        assert len(b.got) == 0
        a.script = lambda _: completion()
        answer = await stage.post(_body(stage, stream=False))
        assert answer.headers["x-limpet-provider"] == stage.provider("a")
        assert not await stage.metric("limpet_provider_out", provider=stage.provider("a"))


@pytest.mark.parametrize("client", [_by_http1, _by_http2], ids=["HTTP/1.1", "HTTP/2"])
async def test_a_client_that_leaves_before_another_attempt_causes_none(stage: Stage, client: Any) -> None:
    limited = Reply(429, {"content-type": "application/json", "retry-after": "2"}, {"error": {"message": "Slow"}})
    policy = {"failover": {"policy": "SaveCache", "saveCacheWithin": "10s"}}
    async with Upstream() as a, Upstream() as b:
        await stage.serve("a", "b", specs={"a": {"url": a.url}, "b": {"url": b.url, "weight": 0}}, policy=policy)
        warm = await stage.post(_body(stage, stream=False))
        assert warm.headers["x-limpet-provider"] == stage.provider("a")
        await stage.settle()
        a.script = lambda _: limited
        async with client(stage, _body(stage, stream=False, seed=_ABANDONED)) as leave:
            await until(lambda: len(a.got) == 2, "the request to arrive")
            leave()
        # Whatever is known of `a` by now: this answer takes longer than Envoy stretches the pause, by half at most.
        b.script = lambda _: replace(completion(), delay_s=3.5)
        other = await stage.post(_body(stage, stream=False, provider={"only": [stage.provider("b")]}))
        assert other.headers["x-limpet-provider"] == stage.provider("b")
        assert [got.json.get("seed") for got in (*a.got, *b.got)].count(_ABANDONED) == 1


@pytest.mark.parametrize("client", [_by_http1, _by_http2], ids=["HTTP/1.1", "HTTP/2"])
async def test_a_client_that_leaves_before_the_decision_reaches_no_provider(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, client: Any
) -> None:
    async with (
        running_gateway(header_mode=False) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
        Upstream() as a,
    ):
        await stage.serve("a", specs={"a": {"url": a.url}})
        pid = stage.gateway.children.pid("ext_proc")
        os.kill(pid, signal.SIGSTOP)
        try:
            async with client(stage, _body(stage, stream=True)) as leave:
                # Envoy has taken the request in once it answers another on a connection that came later.
                assert (await stage.get("/healthz")).status == 200
                leave()
                # It arrived later, and is served without a decision as the worker does not answer.
                assert (await stage.post(_body(stage, stream=False))).status == 200
        finally:
            os.kill(pid, signal.SIGCONT)
        assert [got.json["stream"] for got in a.got] == [False]
