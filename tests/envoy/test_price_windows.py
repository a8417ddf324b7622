"""A price window turns by the worker's clock, without a new catalog."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.envoy.cast import LONG, PRICES, say
from tests.envoy.clocked import stage_with_a_clock
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


async def test_the_cheapest_is_another_within_a_window(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    clocks = [f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, 4)]
    peak = {"name": "peak", "from": clocks[0], "to": clocks[1], "factor": "2"}
    dear = {**PRICES, "input": "0.2"}
    async with stage_with_a_clock(numbers, sellers, parser, tmp_path) as (stage, pass_s):
        await stage.serve("a", "b", prices={"b": dear}, windows={"a": [peak]})

        async def cheapest() -> str:
            # Warm nowhere: what is warm may stay cheaper at twice the price.
            opener = [say(f"Log {next(numbers)}. {LONG}", "system"), say("?")]
            answer = await stage.ask(opener, extra={"provider": {"sort": "price"}})
            return answer.seller

        assert await cheapest() == "a"
        for seller in "ba":
            pass_s(2 * 3600)

            async def turned(seller: str = seller) -> bool:
                return await cheapest() == seller

            await until(turned, f"{seller} is the cheapest")
