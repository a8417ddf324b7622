"""Parts of Limpet are away: requests are served in the order of the route, with the right model, key and host."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Anybody home?")]
_BAIT = '"model":"x" \\" {"model": "y"} ] } \\u0022'


@pytest_asyncio.fixture(params=[False, True], ids=["metadata", "header"], loop_scope="session")
async def own_stage(
    request: pytest.FixtureRequest, numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> AsyncIterator[Stage]:
    """A gateway for this module alone."""
    async with (
        running_gateway(header_mode=request.param) as running,
        set_stage(next(numbers), sellers, running, parser) as ready,
    ):
        yield ready


async def _undecided(stage: Stage) -> None:
    async def fallen_back() -> bool:
        return (await stage.ask(_OPENER)).decision == "fallback.undecided"

    await until(fallen_back, "a request that nobody decided")


async def test_without_ext_proc_the_route_decides_and_nothing_leaks(own_stage: Stage) -> None:
    stage = own_stage
    await stage.serve("b", "c", "d")
    os.kill(stage.gateway.children.pid("ext_proc"), signal.SIGKILL)
    await _undecided(stage)
    for seller in stage.sellers:
        await seller.reset()

    messages = [{"role": "user", "content": _BAIT}]
    tools = [{"type": "function", "function": {"name": "model", "parameters": {"model": stage.model}}}]
    bodies: list[dict[str, Any]] = [
        {"model": stage.model, "messages": messages, "tools": tools},
        {"messages": messages, "tools": tools, "model": stage.model},
        {"tools": tools, "metadata": {"model": stage.model}, "model": stage.model, "messages": messages},
    ]
    spoofed = {"x-limpet-cluster": stage.provider("c"), "x-limpet-decision": "mine", "x-forwarded-host": "me"}
    for body in bodies:
        raw = json.dumps(body, ensure_ascii=False).encode()
        answer = await stage.post(raw, headers=spoofed)
        assert answer.status == 200, answer.body
        assert answer.headers["x-limpet-decision"] == "fallback.undecided"
        assert stage.seller_of(answer.headers["x-limpet-provider"]) == "b"
        arrival = (await stage.arrivals("b"))[-1]
        assert body_of(arrival) == json.dumps({**body, "model": "flash.b"}, ensure_ascii=False).encode()
        headers = headers_of(arrival)
        assert headers["x-api-key"] == "key-of-b"
        assert "authorization" not in headers
        assert not [name for name in headers if name.startswith(("x-limpet-", "x-forwarded-", "x-envoy-"))]
    assert not await stage.arrivals("c")
    assert {model.id async for model in stage.client.models.list()} == {stage.model, "plain"}


async def test_without_ext_proc_a_failing_provider_is_still_passed_over(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    async with (
        running_gateway(header_mode=False) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
    ):
        await stage.serve("b", "c", "d")
        os.kill(stage.gateway.children.pid("ext_proc"), signal.SIGKILL)
        await _undecided(stage)
        await stage.sellers["b"].set_fault(Fault(kind="status", status=503))
        await stage.sellers["c"].set_fault(Fault(kind="reset_before_headers"))
        answer = await stage.ask(_OPENER, stream=True)
        assert (answer.seller, answer.decision) == ("d", "fallback.undecided")
        arrival = (await stage.arrivals("d"))[-1]
        assert json.loads(body_of(arrival))["model"] == "flash.d"
        assert headers_of(arrival)["x-goog-api-key"] == "key-of-d"


async def test_a_frozen_ext_proc_costs_two_seconds_and_no_request(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    async with (
        running_gateway(header_mode=False) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
    ):
        await stage.serve("a", "b")
        pid = stage.gateway.children.pid("ext_proc")
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = await stage.ask(_OPENER)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert answer.decision == "fallback.undecided"

        async def decided() -> bool:
            return (await stage.ask(_OPENER)).decision != "fallback.undecided"

        await until(decided, "ext_proc to decide again")


async def test_a_worker_without_a_catalog_lets_requests_pass(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    # The last of two flags counts: the operator that this worker looks for is a socket on which nobody listens.
    deaf = (
        "import sys; from limpet_extproc.__main__ import main; "
        "main([*sys.argv[1:], '--control-plane=unix:/nonexistent.sock'])"
    )
    async with (
        running_gateway(header_mode=False, extproc=(sys.executable, "-c", deaf)) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
    ):
        stage.gateway.apply(stage.planned(stage.objects(["b", "c"], {}, {}), {}))

        async def served() -> bool:
            try:
                return (await stage.post({"model": stage.model, "messages": _OPENER})).status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(served, "the route")
        answer = await stage.ask(_OPENER)
        assert (answer.seller, answer.decision) == ("b", "fallback.undecided")


async def test_routing_goes_on_without_the_operator(own_stage: Stage) -> None:
    stage = own_stage
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.gateway.control_plane.stop()

    async def alone() -> bool:
        return await stage.metric("limpet_catalog_connected") == 0

    await until(alone, "ext_proc to notice")
    for number in range(5):
        assert (await stage.ask([say(LONG, "system"), say(f"New {number}")])).decision == "first.scored"
    again = await stage.ask(_OPENER)
    assert (again.seller, again.decision) == (first.seller, "sticky.hit")
