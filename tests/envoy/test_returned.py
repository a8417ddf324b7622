"""A conversation that had to leave goes back where this is cheaper, as its cache is still warm there."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.clocked import stage_with_a_clock
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_extproc.decision.health import DEFAULT_THRESHOLDS
from limpet_lab.sim.faults import NO_FAULT, Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_DEAR = {"input": "2", "cacheRead": "0.2", "output": "8"}
_AS_DEAR = {"input": "0.15", "cacheRead": "0.003", "output": "0.61"}


def _conversation(number: int) -> list[dict[str, Any]]:
    return [say(LONG, "system"), say(f"Conversation {number}")]


@pytest.mark.parametrize(
    ("price_of_b", "home"),
    [(_DEAR, ("a", "sticky.returned")), (_AS_DEAR, ("b", "sticky.hit"))],
    ids=["much dearer", "hardly dearer"],
)
async def test_a_conversation_returns_from_a_dearer_provider_once_the_first_one_has_room(
    stage: Stage, price_of_b: dict[str, str], home: tuple[str, str]
) -> None:
    await stage.serve("a", "b", specs={"a": {"limits": {"concurrentRequests": 1}}}, prices={"b": price_of_b})
    order = {"provider": {"order": [stage.provider("a")]}}
    number = 0
    while (await stage.ask(_conversation(number))).seller != "a":
        number += 1
    await stage.settle()
    asked = len(await stage.arrivals("a"))
    await stage.sellers["a"].set_fault(Fault(kind="latency", delay_s=3.0, times=1))
    slow = asyncio.create_task(stage.ask("Take your time", extra=order))

    async def full() -> bool:
        return len(await stage.arrivals("a")) > asked

    await until(full, "the slow request at a")
    left = await stage.ask(_conversation(number))
    assert (left.seller, left.decision) == ("b", "sticky.left.over_limit")
    assert (await slow).seller == "a"
    await stage.sellers["a"].set_fault(NO_FAULT)
    await stage.settle()
    again = await stage.ask(_conversation(number))
    assert (again.seller, again.decision) == home
    await stage.settle()
    stays = await stage.ask(_conversation(number))
    assert (stays.seller, stays.decision) == (home[0], "sticky.hit")


async def test_after_a_failover_it_stays_until_the_first_provider_has_been_well_for_a_minute(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    async with stage_with_a_clock(numbers, sellers, parser, tmp_path) as (stage, pass_s):
        await stage.serve("a", "b", prices={"b": _DEAR})
        assert (await stage.ask(_conversation(0))).seller == "a"
        await stage.settle()
        await stage.sellers["a"].set_fault(Fault(kind="status", status=500, times=1))
        assert (await stage.ask(_conversation(0))).seller == "b"
        await stage.settle()
        stays = await stage.ask(_conversation(0))
        assert (stays.seller, stays.decision) == ("b", "sticky.hit")
        await stage.settle()
        pass_s(DEFAULT_THRESHOLDS.well_s)
        back = await stage.ask(_conversation(0))
        assert (back.seller, back.decision) == ("a", "sticky.returned")
        await stage.settle()
        at_home = await stage.ask(_conversation(0))
        assert (at_home.seller, at_home.decision) == ("a", "sticky.hit")
