"""A provider that was down comes back: new conversations go there again, as many as before its outage."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.clocked import stage_with_a_clock
from tests.envoy.stage import Answer, Stage
from tests.waiting import until

from limpet_extproc.decision.health import DEFAULT_THRESHOLDS
from limpet_lab.sim.faults import NO_FAULT, Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_A_LITTLE_DEARER: Final = {"input": "0.2", "cacheRead": "0.004", "output": "0.8"}
"""By a third: less than the errors of an outage make a dollar count more."""

_FADED_S: Final = 300.0
"""Longer than a pause, and than errors keep a provider from being the first choice for its trial."""


async def _opened(stage: Stage, conversations: Iterator[int]) -> Answer:
    answer = await stage.ask([say(LONG, "system"), say(f"Conversation {next(conversations)}")])
    await stage.settle()
    return answer


async def test_after_an_outage_new_conversations_come_back(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    async with stage_with_a_clock(numbers, sellers, parser, tmp_path) as (stage, pass_s):
        await stage.serve("a", "b", prices={"b": _A_LITTLE_DEARER})
        conversations = count(1)
        assert (await _opened(stage, conversations)).seller == "a"
        await stage.sellers["a"].set_fault(Fault(kind="status", status=500))
        for tried in range(1, 13):

            async def tried_once_more(tried: int = tried) -> bool:
                assert (await _opened(stage, conversations)).seller == "b"
                return len(await stage.arrivals("a")) > tried

            await until(tried_once_more, "a trial")
            pass_s(_FADED_S)
        assert await stage.metric("limpet_provider_out", provider=stage.provider("a")) == 1.0
        await stage.sellers["a"].set_fault(NO_FAULT)

        async def back() -> bool:
            return (await _opened(stage, conversations)).seller == "a"

        await until(back, "the trial that it answers")
        pass_s(DEFAULT_THRESHOLDS.ramp_s)
        assert [(await _opened(stage, conversations)).seller for _ in range(5)] == ["a"] * 5
