"""What `bench reload` and `bench apply` share: whose turn it is, when a change is served, what a percentile is."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.bench.changes import ChangeTimes, percentiles, turn, until_served


@given(st.integers(1, 120), st.integers(1, 400))
def test_every_turn_changes_something(things: int, rounds: int) -> None:
    names: dict[int, str] = defaultdict(lambda: "alpha")
    for number in range(rounds):
        index, name = turn(number, things, ("alpha", "beta"))
        assert 0 <= index < things
        assert names[index] != name
        names[index] = name


@pytest.mark.parametrize(
    ("times", "p50", "p99"), [([7.0], 7.0, 7.0), ([3.0, 1.0, 2.0], 2.0, 3.0), (list(map(float, range(200))), 99, 197)]
)
def test_percentiles_are_by_nearest_rank(times: list[float], p50: float, p99: float) -> None:
    assert percentiles(times) == {"p50_ms": p50, "p99_ms": p99}


@asynccontextmanager
async def answering(*answers: tuple[int, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """A gateway that gives these answers, one after the other."""
    left = iter(answers)

    async def answer(_: web.Request) -> web.Response:
        status, model = next(left)
        return web.json_response({"model": model}, status=status)

    application = web.Application()
    application.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}/v1/") as client:
            yield client
    finally:
        await runner.cleanup()


async def test_neither_the_old_answer_nor_the_new_one_is_a_failure_all_others_are() -> None:
    seen = ChangeTimes()
    async with answering((200, "old"), (503, ""), (404, ""), (200, "old"), (200, "new")) as client:
        await until_served(client, "m", lambda _, model: model == "new", 200, seen)
    assert seen.failed_requests == 2
