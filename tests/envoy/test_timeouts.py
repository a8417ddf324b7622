"""How long a provider may take is its own affair: a slow one is never cut short, a quick one that hangs soon is."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import openai
import pytest
from tests.envoy.cast import say
from tests.envoy.stage import Raw, Stage
from tests.envoy.test_answers import chunk
from tests.envoy.upstream import CLOSE, HANG, Got, Reply, Script, Upstream, completion, events
from tests.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_QUICK: Final = {"firstByte": "500ms", "unstreamed": "500ms", "idle": "500ms"}
_SLOW: Final = {"firstByte": "10m", "unstreamed": "10m", "idle": "10m"}
"""Longer than any client here waits: a story that waits for it fails."""
_LATE_S: Final = 1.5
"""Longer than the quick one may take."""
_SSE: Final = {"content-type": "text/event-stream"}


@asynccontextmanager
async def _serving(
    stage: Stage, a: Script, b: Script, timeouts: Sequence[Mapping[str, str]], policy: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Upstream, Upstream]]:
    async with Upstream(a) as first, Upstream(b) as second:
        specs = {
            name: {"url": upstream.url, "timeouts": limits}
            for name, upstream, limits in zip("ab", (first, second), timeouts, strict=True)
        }
        await stage.serve("a", "b", specs=specs, policy=policy)
        yield first, second


async def _ask(stage: Stage, *, stream: bool = False) -> Raw:
    order = {"order": [stage.provider("a"), stage.provider("b")]}
    return await stage.post(
        {"model": stage.model, "messages": [say("Well?")], "provider": order, **({"stream": True} if stream else {})}
    )


def _late(_: Got) -> Reply:
    return replace(completion(), delay_s=_LATE_S)


def _refuses(_: Got) -> Reply:
    return Reply(503, {"content-type": "application/json"}, b'{"error": {"message": "no"}}')


def _hangs(_: Got) -> str:
    return HANG


async def test_a_quick_provider_that_hangs_ends_soon_though_a_slow_one_stands_behind_it(stage: Stage) -> None:
    async with _serving(stage, _hangs, lambda _: completion(), (_QUICK, _SLOW)) as (a, b):
        answer = await _ask(stage)
        assert (answer.status, answer.json["error"]["code"]) == (504, "provider_timeout")
        assert answer.headers["x-limpet-tried"] == f"{stage.provider('a')} timeout"
        assert (len(a.got), len(b.got)) == (1, 0)
        assert await _cause(stage, "a") == 1.0


async def test_a_slow_provider_after_a_quick_one_may_take_its_time(stage: Stage) -> None:
    async with _serving(stage, _refuses, _late, (_QUICK, _SLOW)) as (a, b):
        answer = await _ask(stage)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
        assert (len(a.got), len(b.got)) == (1, 1)


async def test_a_quick_provider_after_a_slow_one_is_cut_at_its_own_limit(stage: Stage) -> None:
    async with _serving(stage, _refuses, _hangs, (_SLOW, _QUICK)):
        answer = await _ask(stage)
        assert (answer.status, answer.json["error"]["code"]) == (504, "provider_timeout")
        assert answer.headers["x-limpet-tried"] == f"{stage.provider('a')} 503, {stage.provider('b')} timeout"
        assert await _cause(stage, "b") == 1.0


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_where_timeouts_move_on_each_is_known_for_what_it_was(stage: Stage, stream: bool) -> None:
    moves_on = {"failover": {"onTimeout": "NextProvider"}}
    async with _serving(stage, _hangs, _hangs, (_QUICK, _QUICK), moves_on) as (a, b):
        answer = await _ask(stage, stream=stream)
        assert (answer.status, answer.json["error"]["code"]) == (504, "provider_timeout")
        assert answer.headers["x-limpet-tried"] == f"{stage.provider('a')} timeout, {stage.provider('b')} timeout"
        assert (len(a.got), len(b.got)) == (1, 1)
    async with _serving(stage, _hangs, lambda _: completion(), (_QUICK, _QUICK), moves_on):
        assert (await _ask(stage, stream=stream)).headers["x-limpet-provider"] == stage.provider("b")


async def test_a_stream_goes_on_for_longer_than_a_whole_answer_may_take(stage: Stage) -> None:
    def speaks(_: Got) -> Reply:
        return events(*(chunk(str(number)) for number in range(6)), pause_s=0.3)

    limits = {"firstByte": "1s", "unstreamed": "500ms", "idle": "1s"}
    async with _serving(stage, speaks, speaks, (limits, limits)):
        answer = await _ask(stage, stream=True)
        assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("end", [CLOSE, "away"])
async def test_a_connection_that_ends_is_no_timeout_however_late_it_ends(stage: Stage, end: str) -> None:
    """The first provider takes a connection and closes it: the second serves the client, as after no timeout."""
    async with _serving(stage, lambda _: CLOSE, lambda _: completion(), (_QUICK, _SLOW)) as (a, _):
        if end == "away":
            await a.__aexit__(None, None, None)
        answer = await _ask(stage)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))


async def _cause(stage: Stage, name: str) -> float:
    await stage.settle()
    return await stage.metric("limpet_attempts_total", provider=stage.provider(name), outcome="failed_no_answer")


def _stalls(*words: str) -> Reply:
    pieces = [event for event in events(*(chunk(word) for word in words), done=False).pieces or () if event]
    return Reply(headers=_SSE, pieces=pieces, stalls=True)


async def test_a_stream_that_stalls_is_cut_and_the_sdk_raises_at_once(stage: Stage) -> None:
    limits = {"firstByte": "1s", "idle": "1s"}
    async with _serving(stage, lambda _: _stalls("Half", " a"), lambda _: completion(), (limits, limits)) as (a, _):
        order: Any = {"provider": {"order": [stage.provider("a"), stage.provider("b")]}}
        messages: Any = [say("Stall")]
        stream = await stage.client.chat.completions.create(
            model=stage.model, messages=messages, stream=True, extra_body=order
        )
        text = ""

        async def read() -> None:
            nonlocal text
            async for part in stream:
                text += part.choices[0].delta.content or ""

        with pytest.raises(openai.APIConnectionError):
            await read()
        assert text == "Half a"
        await until(lambda: a.left == 1, "the provider's connection to end")

        async def counted() -> bool:
            failed = await stage.metric("limpet_attempts_total", provider=stage.provider("a"), outcome="failed_200")
            return failed == 1.0

        await until(counted, "the stall to be counted against the provider")


async def test_a_pause_within_a_stream_may_be_longer_than_the_wait_before_it(stage: Stage) -> None:
    def pauses(_: Got) -> Reply:
        return events(chunk("Hm"), chunk("!"), pause_s=1.2)

    limits = {"firstByte": "500ms", "idle": "5s"}
    async with _serving(stage, pauses, pauses, (limits, limits)):
        assert (await _ask(stage, stream=True)).body.endswith(b"[DONE]\n\n")


async def test_many_streams_at_once_stall_without_waiting_for_each_other(stage: Stage) -> None:
    limits = {"firstByte": "1s", "idle": "1s"}
    async with _serving(stage, lambda _: _stalls("x"), lambda _: completion(), (limits, limits)) as (a, _):

        async def ask() -> None:
            with pytest.raises(Exception, match="payload is not completed"):
                await _ask(stage, stream=True)

        await asyncio.gather(*(ask() for _ in range(5)))
        await until(lambda: a.left == 5, "all of them to end")
