"""What a request costs depends on its length and its service tier: choice and limits go by that."""

from typing import Any

import openai
import pytest
from tests.envoy.cast import LONG, PRICES, say
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

TERMS: dict[str, Any] = {
    "a": {"serviceTiers": [{"name": "flex", "factor": "0.5"}]},
    "b": {"longContext": [{"aboveTokens": 20_000, "factor": "0.4"}]},
}
DEARER = {name: str(round(float(usd) * 1.2, 4)) for name, usd in PRICES.items()}
VERY_LONG = "So it was written in the log of the ship. " * 2_000


@pytest.mark.parametrize(
    ("system", "fields", "cheapest"),
    [
        (LONG, {}, "c"),
        (LONG, {"service_tier": "flex"}, "a"),
        (LONG, {"service_tier": "default"}, "c"),
        (VERY_LONG, {}, "b"),
        (VERY_LONG, {"service_tier": "flex"}, "b"),
    ],
    ids=["usual", "flex", "default", "long", "long and flex"],
)
async def test_the_cheapest_is_so_for_this_request(
    stage: Stage, system: str, fields: dict[str, Any], cheapest: str
) -> None:
    await stage.serve("a", "b", "c", prices={"a": DEARER, "b": DEARER}, terms=TERMS)
    opener = [say(system, "system"), say("Where?")]
    answer = await stage.ask(opener, extra={"provider": {"sort": "price"}}, **fields)
    assert (answer.seller, answer.decision) == (cheapest, "bypass.sort")


async def test_a_highest_price_is_held_against_what_this_request_costs(stage: Stage) -> None:
    await stage.serve("a", prices={"a": DEARER}, terms=TERMS)
    most = {"provider": {"max_price": {"prompt": 0.1}}}
    with pytest.raises(openai.BadRequestError) as refusal:
        await stage.ask("Where?", extra=most)
    assert refusal.value.param == "provider.max_price.prompt"
    assert (await stage.ask("Where?", extra=most, service_tier="flex")).seller == "a"


async def test_the_cheapest_is_where_the_conversation_is_warm(stage: Stage) -> None:
    await stage.serve("a", "b", prices={"a": DEARER})
    opener = [say(LONG, "system"), say("Where?")]
    by_price = {"provider": {"sort": "price"}}
    assert (
        await stage.ask(opener, extra={"provider": {"sort": "price", "ignore": [stage.provider("b")]}})
    ).seller == "a"
    await stage.settle()
    assert (await stage.ask(opener, extra=by_price)).seller == "b", "other wishes leave nothing in memory"
    await stage.serve("a", "b", prices={"b": DEARER})
    await stage.settle()
    assert (await stage.ask(opener, extra=by_price)).seller == "b", "it is warm there"


async def test_a_price_that_nobody_knows_is_not_the_lowest(stage: Stage) -> None:
    await stage.serve("a", "b", prices={"a": None, "b": PRICES})
    opener, by_price = [say(LONG, "system"), say("Where to?")], {"provider": {"sort": "price"}}
    for number in range(3):
        assert (await stage.ask(f"{number}?", extra=by_price)).seller == "b"
    for _ in range(2):
        assert (await stage.ask(opener, extra=by_price)).seller == "b", "cold, and then warm"
        await stage.settle()
        opener = [*opener, say("ok", "assistant"), say("And then?")]
