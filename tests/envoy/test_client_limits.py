"""Limits of a client's key over several workers: the bound that is promised, and keys changed under load."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.envoy.group import shared_memory
from tests.envoy.guarded import BOTH_APIS, LAPTOP, ROBOT, Guarded, guarded
from tests.envoy.upstream import Reply, Upstream
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_LIMIT = 12
_AT_ONCE = 6
_REFUSED: Final = b'{"error":{"message":"No","type":"invalid_request_error"}}'


async def _all(story: Guarded, key: str, status: int) -> None:
    """Return when every worker gives this answer. Envoy takes them in turn, so some answers in a row speak for all."""

    async def so() -> bool:
        return {(await story.chat(key)).status for _ in range(6)} == {status}

    await until(so, f"{status} by every worker")


async def test_two_workers_admit_together_what_one_would_and_those_that_decide_at_once(
    number: int, sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    limited = json.dumps({"key": ROBOT, "requestsPerMinute": _LIMIT})
    with servers(RedisServer(tmp_path / "redis")) as (redis,):
        flags = shared_memory(redis.url, tmp_path)
        async with guarded(
            number, sellers, parser, "Required", extproc_workers=2, envoy_concurrency=1, extproc_flags=flags
        ) as story:
            await story.serve("a", specs={"a": BOTH_APIS}, laptop=LAPTOP, robot=limited)
            await _all(story, LAPTOP, 200)
            answers = []
            for _ in range(5):
                answers += await asyncio.gather(*(story.chat(ROBOT) for _ in range(_AT_ONCE)))
            admitted = sum(answer.status == 200 for answer in answers)
            refused = [answer for answer in answers if answer.status == 429]
            assert admitted + len(refused) == 5 * _AT_ONCE
            assert _LIMIT <= admitted < _LIMIT + _AT_ONCE
            assert all(0 < int(answer.headers["retry-after"]) <= 61 for answer in refused)
            assert (await story.chat(LAPTOP)).status == 200


async def test_what_a_client_has_spent_by_one_gateway_it_cannot_spend_by_another(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    """By every worker of both, once the ledger has told; a request that costs nothing shows when."""
    limited = json.dumps({"key": ROBOT, "usdPerDay": 1e-9})
    with servers(RedisServer(tmp_path / "redis")) as (redis,):
        flags = shared_memory(redis.url, tmp_path)
        many: dict[str, Any] = {"extproc_workers": 2, "envoy_concurrency": 1, "extproc_flags": flags}
        async with (
            guarded(next(numbers), sellers, parser, "Required", **many) as one,
            guarded(next(numbers), sellers, parser, "Required", **many) as other,
            Upstream(lambda got: Reply(400, {"content-type": "application/json"}, _REFUSED)) as upstream,
        ):
            await one.serve("a", laptop=LAPTOP, robot=limited)
            await other.serve("a", specs={"a": {"url": upstream.url}}, laptop=LAPTOP, robot=limited)
            await _all(one, LAPTOP, 200)
            await _all(other, ROBOT, 400)
            assert (await one.chat(ROBOT)).status == 200
            for story, free in ((one, 200), (other, 400)):
                await _all(story, ROBOT, 429)
                assert (await story.chat(LAPTOP)).status == free
