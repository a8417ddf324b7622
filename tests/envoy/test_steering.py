"""The client steers with `provider` in the body: it is obeyed, and the provider never sees it."""

from typing import Any

import openai
import pytest
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.envoy.stage import Stage

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Steer")]


async def test_order_is_obeyed_over_a_warm_conversation(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    warm = await stage.ask(_OPENER)
    await stage.settle()
    for seller in "abc":
        answer = await stage.ask(_OPENER, extra={"provider": {"order": [stage.provider(seller)]}})
        assert (answer.seller, answer.decision) == (seller, "bypass.order")
    await stage.settle()
    back = await stage.ask(_OPENER)
    assert (back.seller, back.decision) == (warm.seller, "sticky.hit")


async def test_order_names_the_second_choice_too(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    await stage.sellers["c"].set_fault(Fault(kind="status", status=500))
    answer = await stage.ask(_OPENER, extra={"provider": {"order": [stage.provider("c"), stage.provider("a")]}})
    assert answer.seller == "a"
    assert len(await stage.arrivals("c")) == 1


@pytest.mark.parametrize(
    ("controls", "allowed", "decision"),
    [
        ({"only": ["b"]}, {"b"}, "bypass.only"),
        ({"only": ["a", "c"]}, {"a", "c"}, "bypass.only"),
        ({"ignore": ["a", "b"]}, {"c"}, "bypass.ignore"),
        ({"order": ["nobody", "b"]}, {"b"}, "bypass.order"),
        ({"only": ["nobody", "b"]}, {"b"}, "bypass.only"),
        ({"order": ["b"], "ignore": ["b"]}, {"a", "c"}, "bypass.order"),
    ],
    ids=str,
)
async def test_only_and_ignore_are_obeyed(
    stage: Stage, controls: dict[str, Any], allowed: set[str], decision: str
) -> None:
    await stage.serve("a", "b", "c")
    named = {field: [stage.provider(name) for name in names] for field, names in controls.items()}
    for number in range(6):
        answer = await stage.ask([say(LONG, "system"), say(f"{number}")], extra={"provider": named})
        assert answer.seller in allowed
        assert answer.decision == decision


async def test_sort_by_price_takes_the_cheapest_even_among_near_equals(stage: Stage) -> None:
    prices = {
        name: {"input": usd, "cacheRead": "0.001", "output": "0.6"}
        for name, usd in zip("abc", ("0.16", "0.15", "0.155"), strict=True)
    }
    await stage.serve("a", "b", "c", prices=prices)
    for number in range(6):
        answer = await stage.ask([say(LONG, "system"), say(f"{number}")], extra={"provider": {"sort": "price"}})
        assert (answer.seller, answer.decision) == ("b", "bypass.sort")


async def test_sort_by_latency_takes_the_fastest(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    for seller in stage.each("a", "c"):
        await seller.set_fault(Fault(kind="latency", delay_s=0.15))
    for name in "abc":
        await stage.ask(_OPENER, extra={"provider": {"order": [stage.provider(name)]}})
    await stage.settle()
    answer = await stage.ask(_OPENER, extra={"provider": {"sort": "latency"}})
    assert (answer.seller, answer.decision) == ("b", "bypass.sort")


@pytest.mark.parametrize("nested", [True, False], ids=["in provider", "beside provider"])
async def test_without_fallbacks_the_named_providers_failure_is_the_answer(stage: Stage, nested: bool) -> None:
    await stage.serve("a", "b", "c")
    await stage.sellers["b"].set_fault(Fault(kind="status", status=503))
    controls: dict[str, Any] = {"provider": {"order": [stage.provider("b")]}}
    if nested:
        controls["provider"]["allow_fallbacks"] = False
    else:
        controls["allow_fallbacks"] = False
    with pytest.raises(openai.InternalServerError) as failure:
        await stage.ask(_OPENER, extra=controls)
    assert failure.value.status_code == 503
    assert [len(await stage.arrivals(name)) for name in "abc"] == [0, 1, 0]


async def test_allowed_fallbacks_demand_nothing(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    await stage.ask(_OPENER)
    await stage.settle()
    answer = await stage.ask(_OPENER, extra={"provider": {}, "allow_fallbacks": True})
    assert answer.decision == "sticky.hit"


async def test_nobody_left_is_the_clients_affair(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    with pytest.raises(openai.BadRequestError) as refusal:
        await stage.ask(_OPENER, extra={"provider": {"only": ["nobody"]}})
    assert refusal.value.param == "provider.only"
    assert refusal.value.code == "no_provider_left"
    assert all(stage.provider(name) in refusal.value.message for name in "abc")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"provider":{"only":["{b}"]},"model":"plain","messages":[]}', '{"model":"plain","messages":[]}'),
        ('{"model":"plain", "messages":[] , "provider" : {"only":["{b}"]} }', '{"model":"plain", "messages":[] }'),
        (
            '{"session_id":"x","provider":{"only":["{b}"]},"model":"plain","messages":[]}',
            '{"model":"plain","messages":[]}',
        ),
        (
            '{"model":"plain","session_id":"x","allow_fallbacks":true,"messages":[],"provider":{"only":["{b}"]}}',
            '{"model":"plain","messages":[]}',
        ),
        (
            '{"model":"plain","messages":[],"stop":"\\"session_id\\":1,","prov\\u0069der":{"only":["{b}"]}}',
            '{"model":"plain","messages":[],"stop":"\\"session_id\\":1,"}',
        ),
    ],
)
async def test_what_is_ours_is_cut_and_every_other_byte_stays(stage: Stage, before: str, after: str) -> None:
    await stage.serve("a", "b", "c")
    messages = '"messages":[{"role":"user","content":"  spaces \\u00e9 and {\\"provider\\":1} stay "}]'
    sent = before.replace("{b}", stage.provider("b")).replace('"messages":[]', messages).encode()
    expected = after.replace('"messages":[]', messages).encode()
    answer = await stage.post(sent)
    assert answer.status == 200, answer.body
    arrival = (await stage.arrivals("b"))[-1]
    assert body_of(arrival) == expected
    assert headers_of(arrival)["content-length"] == str(len(expected))
