"""A provider fails in each way there is: another serves the client, and the conversation lives there from then on."""

import asyncio
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import openai
import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault
from limpet_operator.laptop.machine import free_port
from limpet_operator.publish.route import DEFAULT_ORDER_LENGTH

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Hold fast")]
_QUICK: Mapping[str, Any] = {
    "timeouts": {"connect": "500ms", "firstByte": "400ms", "unstreamed": "400ms", "idle": "5s"}
}

_FAULTS = {
    "500": Fault(kind="status", status=500),
    "503": Fault(kind="status", status=503),
    "529": Fault(kind="status", status=529),
    "429": Fault(kind="status", status=429),
    "429 with retry-after": Fault(kind="status", status=429, retry_after_s=30),
    "401": Fault(kind="status", status=401),
    "402": Fault(kind="status", status=402),
    "404": Fault(kind="status", status=404),
    "reset before headers": Fault(kind="reset_before_headers"),
    "reset within headers": Fault(kind="reset_within_headers"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", _FAULTS.values(), ids=_FAULTS.keys())
async def test_the_client_is_served_elsewhere_and_the_conversation_moves(
    stage: Stage, fault: Fault, stream: bool
) -> None:
    await stage.serve("a", "b", "c", specs=dict.fromkeys("abc", _QUICK))
    first = await stage.ask(_OPENER, stream=stream)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(fault)
    moved = await stage.ask(_OPENER, stream=stream)
    assert moved.text
    assert moved.seller != first.seller
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault())
    stays = await stage.ask(_OPENER, stream=stream)
    assert (stays.seller, stays.decision) == (moved.seller, "sticky.hit")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_after_a_timeout_nobody_else_is_paid_and_the_client_is_told(stage: Stage, stream: bool) -> None:
    await stage.serve("a", "b", specs=dict.fromkeys("ab", _QUICK))
    first = await stage.ask(_OPENER, stream=stream)
    await stage.settle()
    other = "b" if first.seller == "a" else "a"
    await stage.sellers[first.seller].set_fault(Fault(kind="hang"))
    with pytest.raises(openai.InternalServerError) as failure:
        await stage.ask(_OPENER, stream=stream)
    assert (failure.value.status_code, failure.value.code) == (504, "provider_timeout")
    assert (len(await stage.arrivals(first.seller)), len(await stage.arrivals(other))) == (2, 0)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault())
    again = await stage.ask(_OPENER, stream=stream)
    assert (again.seller, again.decision) == (other, "sticky.left.failed"), "what timed out is not asked first again"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_where_the_policy_says_so_a_timeout_is_followed_by_another_provider(stage: Stage, stream: bool) -> None:
    await stage.serve("a", "b", specs=dict.fromkeys("ab", _QUICK), policy={"failover": {"onTimeout": "NextProvider"}})
    first = await stage.ask(_OPENER, stream=stream)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="hang"))
    moved = await stage.ask(_OPENER, stream=stream)
    assert moved.seller != first.seller
    assert len(await stage.arrivals(first.seller)) == 2, "and the first one is not asked again"


@pytest.mark.parametrize("others", [DEFAULT_ORDER_LENGTH - 1, DEFAULT_ORDER_LENGTH], ids=["one known", "none known"])
async def test_providers_that_the_route_does_not_know_are_tried_like_any_other(stage: Stage, others: int) -> None:
    spec = {"vendor": "DeepSeek", "url": "http://127.0.0.1:9/v1", "models": [{"name": "of-another-kind"}]}
    before = [
        {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": {"name": f"0-{number}"}, "spec": spec}
        for number in range(others)
    ]
    stage.gateway.apply(stage.planned([*before, *stage.objects("ab", {}, {})], {}))

    async def in_force() -> bool:
        return await stage.announced() == {stage.provider("a"), stage.provider("b")}

    await until(in_force, "both in force")
    await stage.sellers["a"].set_fault(Fault(kind="status", status=500))
    order = [stage.provider("a"), stage.provider("b")]
    answer = await stage.ask(_OPENER, extra={"provider": {"order": order}})
    assert (answer.seller, answer.decision) == ("b", "bypass.order")
    assert len(await stage.arrivals("a")) == 1


@pytest.mark.parametrize("where", ["refused", "unresolvable"])
async def test_a_provider_that_cannot_be_reached_costs_the_client_nothing(stage: Stage, where: str) -> None:
    host = "127.0.0.1" if where == "refused" else "no-such-provider.invalid"
    gone = {"url": f"http://{host}:{free_port()}/v1"}
    await stage.serve("a", "b", specs={"a": gone})
    order = [stage.provider("a"), stage.provider("b")]
    answers = [await stage.ask(f"Attempt {n}", extra={"provider": {"order": order}}) for n in range(4)]
    assert {answer.seller for answer in answers} == {"b"}
    await stage.out("a")


async def test_an_answer_that_breaks_off_is_not_glued_to_another(stage: Stage) -> None:
    await stage.serve("a", "b")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="reset_within_body", after_pieces=3))
    messages: Any = _OPENER
    stream = await stage.client.chat.completions.create(model=stage.model, messages=messages, stream=True)
    text = ""

    async def read() -> None:
        nonlocal text
        async for chunk in stream:
            assert chunk.choices[0].finish_reason is None
            text += chunk.choices[0].delta.content or ""

    with pytest.raises(openai.APIError):
        await read()
    assert text

    async def moved() -> bool:
        try:
            return (await stage.ask(_OPENER)).seller != first.seller
        except openai.APIConnectionError:
            return False

    await until(moved, "the conversation to leave the broken provider")
    # Three failures in a row are enough; one more may have been under way.
    assert len(await stage.arrivals(first.seller)) <= 1 + 3 + 1


async def test_a_limited_provider_is_left_alone_for_as_long_as_it_asks(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="status", status=429, retry_after_s=60, times=1))
    await stage.ask(_OPENER)
    await stage.out(first.seller)
    served = len(await stage.arrivals(first.seller))
    answers = [await stage.ask([say(LONG, "system"), say(f"New {n}")]) for n in range(15)]
    assert first.seller not in {answer.seller for answer in answers}
    assert len(await stage.arrivals(first.seller)) == served


async def test_failures_in_a_row_take_a_provider_out_and_single_trials_let_it_back_in(stage: Stage) -> None:
    await stage.serve("a", "b")
    await stage.sellers["a"].set_fault(Fault(kind="status", status=500))
    order = {"provider": {"order": [stage.provider("a"), stage.provider("b")]}}
    for number in range(3):
        assert (await stage.ask(f"Knock {number}", extra=order)).seller == "b"
    await stage.out("a")
    knocked = len(await stage.arrivals("a"))
    for number in range(10):
        assert (await stage.ask(f"New {number}")).seller == "b"
    assert len(await stage.arrivals("a")) == knocked == 3

    await stage.sellers["a"].set_fault(Fault(kind="latency", delay_s=2.0))

    numbers = count()

    async def tried() -> bool:
        # New conversations each time: eight of them may all be drawn to the other provider.
        await asyncio.gather(*(stage.ask(f"Trial {next(numbers)}") for _ in range(8)))
        return len(await stage.arrivals("a")) > knocked

    await until(tried, "a trial")
    assert len(await stage.arrivals("a")) == knocked + 1, "one request at a time tries it"

    async def back() -> bool:
        return await stage.metric("limpet_provider_out", provider=stage.provider("a")) == 0.0

    await until(back, "the provider to be let in again")
    await stage.sellers["a"].set_fault(Fault())

    async def has_its_share() -> bool:
        answers = await asyncio.gather(*(stage.ask(f"Both {next(numbers)}") for _ in range(8)))
        return "a" in {answer.seller for answer in answers}

    await until(has_its_share, "new conversations at the provider that is back, more from second to second")


async def test_all_down_is_told_in_openais_words_with_why(stage: Stage) -> None:
    gone = {"url": f"http://127.0.0.1:{free_port()}/v1"}
    await stage.serve("a", "b", specs={"a": gone, "b": gone})
    for number in range(4):
        with pytest.raises(openai.InternalServerError):
            await stage.ask(f"Anybody? {number}")
    await stage.out("a")
    await stage.out("b")
    with pytest.raises(openai.InternalServerError) as failure:
        await stage.ask("Anybody?")
    error: Any = failure.value.body
    assert failure.value.status_code == 503
    assert failure.value.code == "no_provider_available"
    assert error["type"] == "server_error"
    assert f"{stage.provider('a')} failed" in error["message"]
    assert f"{stage.provider('b')} failed" in error["message"]
    assert failure.value.response.headers["x-limpet-decision"] == "last_resort.all_out"


async def test_a_provider_that_is_down_is_still_the_last_resort(stage: Stage) -> None:
    await stage.serve("a")
    await stage.sellers["a"].set_fault(Fault(kind="status", status=500, times=3))
    for number in range(3):
        with pytest.raises(openai.InternalServerError):
            await stage.ask(f"Alone {number}")
    await stage.out("a")
    answer = await stage.ask("Alone")
    assert (answer.seller, answer.decision) == ("a", "last_resort.all_out")


async def test_one_that_is_down_answers_where_the_only_one_that_is_up_fails(stage: Stage) -> None:
    await stage.serve("a", "b")
    only_a = {"provider": {"only": [stage.provider("a")]}}
    await stage.sellers["a"].set_fault(Fault(kind="status", status=500, times=3))
    for turn in range(3):
        with pytest.raises(openai.InternalServerError):
            await stage.ask(f"Alone, {turn}", extra=only_a)
    await stage.out("a")
    await stage.sellers["b"].set_fault(Fault(kind="status", status=500, times=1))
    answer = await stage.ask("Nobody else is left")
    assert answer.seller == "a"
    assert len(await stage.arrivals("b")) == 1


async def test_the_last_providers_own_refusal_reaches_the_client(stage: Stage) -> None:
    await stage.serve("a", "b")
    for seller in stage.each("a", "b"):
        await seller.set_fault(Fault(kind="status", status=429, retry_after_s=7))
    with pytest.raises(openai.RateLimitError) as limited:
        await stage.ask("Too much")
    assert limited.value.response.headers["retry-after"] == "7"
    assert limited.value.response.headers["x-limpet-provider"]


async def test_a_request_that_the_provider_calls_wrong_is_not_tried_elsewhere(stage: Stage) -> None:
    await stage.serve("a", "b")
    body = {
        "error": {"message": "bad temperature", "type": "invalid_request_error", "param": "temperature", "code": "x"}
    }
    for seller in stage.each("a", "b"):
        await seller.set_fault(Fault(kind="status", status=400, body=body))
    answer = await stage.post({"model": stage.model, "messages": _OPENER})
    assert (answer.status, json.loads(answer.body)) == (400, body)
    assert len(await stage.arrivals("a")) + len(await stage.arrivals("b")) == 1
    for seller in stage.each("a", "b"):
        await seller.set_fault(Fault())
    for name in "ab":
        assert await stage.metric("limpet_provider_out", provider=stage.provider(name)) == 0.0
