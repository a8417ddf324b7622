"""Failover SaveCache: a warm provider that asks for a short pause gets it, and the conversation stays."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import CLOSE, Got, Reply, Upstream, completion

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_POLICY: Final = {"failover": {"policy": "SaveCache", "saveCacheWithin": "2s"}}


def _limited(retry_after: str | None) -> Reply:
    headers = {} if retry_after is None else {"retry-after": retry_after, "x-limpet-wait": "50"}
    return Reply(429, {"content-type": "application/json", **headers}, {"error": {"message": "Slow down."}})


@asynccontextmanager
async def _warm_at_a(
    stage: Stage, then: Sequence[Reply | str], policy: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Upstream, Upstream]]:
    """A conversation that is warm at `a`, which from then on answers so, and after that well again."""
    answers = iter(then)

    def script(got: Got) -> Reply | str:
        return completion() if got.number == 1 else next(answers, completion())

    async with Upstream(script) as a, Upstream() as b:
        # `b` has weight 0 and so is only asked when `a` will not do.
        specs: dict[str, dict[str, Any]] = {"a": {"url": a.url}, "b": {"url": b.url, "weight": 0}}
        await stage.serve("a", "b", specs=specs, policy=policy or _POLICY)
        assert (await _turn(stage, 1)).headers["x-limpet-provider"] == stage.provider("a")
        await stage.settle()
        yield a, b


async def _turn(stage: Stage, turn: int, *, stream: bool = False) -> Raw:
    messages = [say(LONG, "system"), say("Turn 1")]
    for number in range(1, turn):
        messages += [say("Yes.", "assistant"), say(f"Turn {number + 1}")]
    return await stage.post({"model": stage.model, "messages": messages, **({"stream": True} if stream else {})})


@pytest.mark.parametrize("retry_after", ["0", "1", "0.4"])
async def test_a_short_pause_is_waited_for_and_the_cache_is_kept(stage: Stage, retry_after: str) -> None:
    async with _warm_at_a(stage, [_limited(retry_after)]) as (a, b):
        answer = await _turn(stage, 2)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("a"))
        assert (answer.headers["x-limpet-attempts"], len(a.got), len(b.got)) == ("2", 3, 0)
        await stage.settle()
        assert (await _turn(stage, 3)).headers["x-limpet-decision"] == "sticky.hit"


async def test_it_is_waited_for_once(stage: Stage) -> None:
    async with _warm_at_a(stage, [_limited("1"), _limited("1")]) as (a, b):
        answer = await _turn(stage, 2)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
        assert (len(a.got), len(b.got)) == (3, 1)


@pytest.mark.parametrize("retry_after", ["2", "1.5", None, "soon", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_a_longer_pause_or_none_moves_the_request_at_once(stage: Stage, retry_after: str | None) -> None:
    async with _warm_at_a(stage, [_limited(retry_after)] * 2) as (a, b):
        answer = await _turn(stage, 2)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
        assert (len(a.got), len(b.got)) == (2, 1)


async def test_a_connection_that_ends_is_tried_again_and_the_cache_is_kept(stage: Stage) -> None:
    async with _warm_at_a(stage, [CLOSE]) as (_, b):
        answer = await _turn(stage, 2)
        assert (answer.headers["x-limpet-provider"], len(b.got)) == (stage.provider("a"), 0)


@pytest.mark.parametrize("on_timeout", ["Fail", "NextProvider"])
async def test_after_the_pause_the_others_are_still_there(stage: Stage, on_timeout: str) -> None:
    policy = {"failover": {**_POLICY["failover"], "onTimeout": on_timeout}}
    async with _warm_at_a(stage, [_limited("1"), CLOSE, CLOSE], policy) as (a, b):
        answer = await _turn(stage, 2)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
        assert (len(a.got), len(b.got)) == (3, 1)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_without_the_policy_nobody_waits(stage: Stage, stream: bool) -> None:
    async with _warm_at_a(stage, [_limited("1")] * 2, {"failover": {"policy": "SaveRequest"}}) as (a, b):
        answer = await _turn(stage, 2, stream=stream)
        assert (answer.headers["x-limpet-provider"], len(a.got), len(b.got)) == (stage.provider("b"), 2, 1)
