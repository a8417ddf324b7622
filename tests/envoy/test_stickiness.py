"""When a conversation stays, when it does not pay to stay, and what each mode does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.envoy.cast import LONG, PRICES, say
from tests.envoy.clocked import stage_with_a_clock
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Again and again")]


async def test_mode_off_scatters_one_conversation(stage: Stage) -> None:
    await stage.serve("a", "b", "c", policy={"mode": "Off"})
    answers = [await stage.ask(_OPENER) for _ in range(20)]
    assert {answer.decision for answer in answers} == {"off.spread"}
    assert len({answer.seller for answer in answers}) > 1


async def test_observe_does_what_off_does_and_counts_what_enforce_would_have_done(stage: Stage) -> None:
    await stage.serve("a", "b", "c", policy={"mode": "Observe"})
    before = await stage.metric("limpet_observed_decisions_total", reason="sticky.hit")
    answers = []
    for _ in range(12):
        answers.append(await stage.ask(_OPENER))
        await stage.settle()
    assert {answer.decision for answer in answers} == {"observe.spread"}
    assert len({answer.seller for answer in answers}) > 1
    assert await stage.metric("limpet_observed_decisions_total", reason="sticky.hit") == before + 11


async def test_a_prompt_too_short_for_the_cache_is_not_remembered(stage: Stage) -> None:
    await stage.serve("a", "b", "c", specs={name: {"cache": {"minTokens": 4096}} for name in "abc"})
    answers = []
    for _ in range(3):
        answers.append(await stage.ask("Hello"))
        await stage.settle()
    assert [answer.decision for answer in answers] == ["unsticky.below_minimum"] * 3


@pytest.mark.parametrize("reads", ["0.15", "0.2"])
async def test_a_cache_that_saves_no_money_holds_nobody(stage: Stage, reads: str) -> None:
    await stage.serve("a", "b", "c", prices={name: {**PRICES, "cacheRead": reads} for name in "abc"})
    answers = []
    for _ in range(3):
        answers.append(await stage.ask(_OPENER))
        await stage.settle()
    assert [answer.decision for answer in answers] == ["unsticky.no_discount"] * 3


async def test_an_unknown_price_holds_if_the_vendor_caches(stage: Stage) -> None:
    await stage.serve("a", "b", "c", prices=dict.fromkeys("abc"))
    first = await stage.ask(_OPENER)
    await stage.settle()
    second = await stage.ask(_OPENER)
    assert (second.seller, second.decision) == (first.seller, "sticky.hit")


async def test_memory_ends_with_its_lifetime(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    async with stage_with_a_clock(numbers, sellers, parser, tmp_path) as (stage, pass_s):
        await stage.serve("a", "b", "c", policy={"memory": {"ttl": "4m"}})
        first = await stage.ask(_OPENER)
        await stage.settle()
        pass_s(241.0)
        late = await stage.ask(_OPENER)
        assert (first.decision, late.decision) == ("first.scored", "sticky.expired")
        await stage.settle()
        assert (await stage.ask(_OPENER)).decision == "sticky.hit"


async def test_the_lifetime_of_the_providers_own_cache_counts(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    async with stage_with_a_clock(numbers, sellers, parser, tmp_path) as (stage, pass_s):
        await stage.serve("a", "b", "c", specs={name: {"cache": {"ttl": "4m"}} for name in "abc"})
        await stage.ask(_OPENER)
        await stage.settle()
        pass_s(241.0)
        assert (await stage.ask(_OPENER)).decision == "sticky.expired"


async def test_a_conversation_leaves_a_provider_that_is_gone(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.serve(*({"a", "b", "c"} - {first.seller}))
    second = await stage.ask(_OPENER)
    await stage.settle()
    third = await stage.ask(_OPENER)
    assert second.decision == "sticky.left.not_candidate"
    assert second.seller != first.seller
    assert (third.seller, third.decision) == (second.seller, "sticky.hit")


async def test_a_draining_provider_keeps_what_is_warm_and_gets_nothing_new(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.serve("a", "b", "c", specs={first.seller: {"drain": True}})

    async def passed_over() -> bool:
        news = [await stage.ask([say(LONG, "system"), say(f"New {number}")]) for number in range(12)]
        return first.seller not in {answer.seller for answer in news}

    await until(passed_over, "new conversations elsewhere")
    again = await stage.ask(_OPENER)
    assert (again.seller, again.decision) == (first.seller, "sticky.hit")


async def test_new_conversations_go_where_it_is_cheap(stage: Stage) -> None:
    dear = {"input": "0.90", "cacheRead": "0.02", "output": "3.00"}
    await stage.serve("a", "b", "c", prices={"a": dear, "c": dear})
    answers = [await stage.ask([say(LONG, "system"), say(f"Chat {number}")]) for number in range(10)]
    assert {answer.seller for answer in answers} == {"b"}
