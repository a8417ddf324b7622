"""The client steers with `provider` in the body: it is obeyed, and the provider never sees it."""

from typing import Any

import openai
import pytest
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.envoy.stage import Stage
from tests.envoy.upstream import Reply, Upstream

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
        ({"only": ["b"]}, "b", "bypass.only"),
        ({"only": ["a", "c"]}, "ac", "bypass.only"),
        ({"ignore": ["a", "b"]}, "c", "bypass.ignore"),
        ({"order": ["nobody", "b"]}, "b", "bypass.order"),
        ({"only": ["nobody", "b"]}, "b", "bypass.only"),
        ({"order": ["b"], "ignore": ["b"]}, "ac", "bypass.order"),
    ],
    ids=str,
)
async def test_only_and_ignore_are_obeyed(stage: Stage, controls: dict[str, Any], allowed: str, decision: str) -> None:
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


@pytest.mark.parametrize("sort", ["latency", "throughput", {"by": "throughput", "partition": "model"}], ids=str)
async def test_sort_by_speed_takes_the_fastest(stage: Stage, sort: Any) -> None:
    await stage.serve("a", "b", "c")
    for seller in stage.each("a", "c"):
        await seller.set_fault(Fault(kind="latency", delay_s=0.15))
    for name in "abc":
        await stage.ask(_OPENER, extra={"provider": {"order": [stage.provider(name)]}})
    await stage.settle()
    answer = await stage.ask(_OPENER, extra={"provider": {"sort": sort}})
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


_DEAR = {"input": "2", "cacheRead": "0.2", "output": "8"}


@pytest.mark.parametrize(
    ("demand", "allowed"),
    [
        ({"zdr": True}, "a"),
        ({"data_collection": "deny"}, "ab"),
        ({"max_price": {"prompt": 1}}, "ab"),
        ({"max_price": {"prompt": 3, "completion": "1"}}, "ab"),
        ({"zdr": False, "data_collection": "allow", "max_price": None, "quantizations": []}, "abc"),
    ],
    ids=str,
)
async def test_a_demand_of_a_kind_is_kept_and_the_conversation_stays(
    stage: Stage, demand: dict[str, Any], allowed: str
) -> None:
    policies = {"a": {"zeroRetention": True}, "b": {"trainsOnPrompts": False}, "c": {}}
    specs = {name: {"dataPolicy": policy} for name, policy in policies.items()}
    await stage.serve("a", "b", "c", specs=specs, prices={"c": _DEAR})
    first = await stage.ask(_OPENER, extra={"provider": demand})
    await stage.settle()
    again = await stage.ask(_OPENER, extra={"provider": demand})
    assert first.seller in allowed
    assert (again.seller, again.decision) == (first.seller, "sticky.hit")
    assert b"provider" not in body_of((await stage.arrivals(first.seller))[-1])


@pytest.mark.parametrize(
    ("demand", "param", "code"),
    [
        ({"zdr": True}, "provider.zdr", "no_provider_left"),
        ({"data_collection": "deny"}, "provider.data_collection", "no_provider_left"),
        ({"max_price": {"prompt": 0.0001}}, "provider.max_price.prompt", "no_provider_left"),
        ({"quantizations": ["fp8"]}, "provider.quantizations", "no_provider_left"),
        ({"require_parameters": True}, "provider.require_parameters", "no_provider_left"),
        ({"enforce_distillable_text": True}, "provider.enforce_distillable_text", "no_provider_left"),
        ({"preferred_min_throughput": 50}, "provider.preferred_min_throughput", "no_provider_left"),
        ({"something_new": 1}, "provider.something_new", "no_provider_left"),
        ({"orders": ["b"]}, "provider.orders", None),
        ({"sort": "cheapest"}, "provider.sort", None),
    ],
    ids=str,
)
async def test_a_demand_that_cannot_be_kept_is_named_and_nobody_is_asked(
    stage: Stage, demand: dict[str, Any], param: str, code: str | None
) -> None:
    await stage.serve("a", "b")
    with pytest.raises(openai.BadRequestError) as refusal:
        await stage.ask(_OPENER, extra={"provider": demand})
    assert (refusal.value.param, refusal.value.code) == (param, code)
    assert [len(await stage.arrivals(name)) for name in "ab"] == [0, 0]


@pytest.mark.parametrize(
    ("provider", "passed"),
    [
        ('{"zdr":true,"order":["deepinfra"]}', '{"zdr":true,"order":["deepinfra"]}'),
        ('{ "quantizations":["fp8"] , "only":["{a}"] }', '{ "quantizations":["fp8"] }'),
        ('{"order":["{a}","{b}"],"sort":"price","only":["{a}"]}', '{"sort":"price"}'),
        ('{"only":["deepinfra"]}', '{"only":["deepinfra"]}'),
        ('{"only":["{a}"]}', "{}"),
    ],
)
async def test_a_provider_of_openrouter_gets_the_object_without_our_names(
    stage: Stage, provider: str, passed: str
) -> None:
    provider = provider.replace("{a}", stage.provider("a")).replace("{b}", stage.provider("b"))
    rest = '"model":"plain","messages":[{"role":"user","content":"Hi"}]}'
    async with Upstream() as upstream:
        await stage.serve("a", "b", specs={"a": {"vendor": "OpenRouter", "url": upstream.url}})
        answer = await stage.post(f'{{"session_id":"x","provider":{provider},{rest}'.encode())
        assert answer.status == 200, answer.body
        assert stage.seller_of(answer.headers["x-limpet-provider"]) == "a"
        assert upstream.got[-1].body == f'{{"provider":{passed},{rest}'.encode()


async def test_a_failover_from_openrouter_takes_the_object_away_again(stage: Stage) -> None:
    async with Upstream(lambda _: Reply(status=503)) as upstream:
        await stage.serve("a", "b", specs={"a": {"vendor": "OpenRouter", "url": upstream.url}})
        order = [stage.provider("a"), stage.provider("b")]
        answer = await stage.ask(_OPENER, extra={"provider": {"order": order, "sort": "price"}})
        assert answer.seller == "b"
        assert upstream.got[0].json["provider"] == {"sort": "price"}
    assert b'"provider"' not in body_of((await stage.arrivals("b"))[-1])
