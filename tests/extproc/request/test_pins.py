"""What goes on from a response or a conversation goes to the provider that has it, or nowhere."""

import asyncio
import json
from typing import Any

import pytest
from tests.extproc.clock_loop import pass_time, run
from tests.extproc.conftest import MODEL, Make
from tests.extproc.request.gateway import NOW, Gateway

from limpet_extproc.contract.catalog import CatalogProvider
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.memory.objects import ObjectPlace, PlacesUnknownError
from limpet_extproc.providers.events import AttemptFailed
from limpet_extproc.request.pins import WAITS_S, Found, Pins

ME = {"authorization": "Bearer me"}
YOU = {"authorization": "Bearer you"}
NEXT = {"model": MODEL, "input": "More", "previous_response_id": "resp_1"}
IN_CONVERSATION = {"model": MODEL, "input": "More", "conversation": {"id": "conv_1"}}
PATH = "/v1/responses"


def speaking(make: Make, names: str, **fields: Any) -> list[CatalogProvider]:
    return [make.provider(name, dialects=("OpenAIResponses",), **fields) for name in names]


async def made(gateway: Gateway, provider: str, object_id: str = "resp_1") -> None:
    """An answer to this client, by that provider."""
    first = await gateway.route(PATH, {"model": MODEL, "input": "Hello"}, **ME)
    gateway.pins.note(first.record.owner, object_id, provider)


def error(refusal: Refusal) -> dict[str, Any]:
    return json.loads(Gateway.dialect(PATH).error_body(refusal))["error"]


@pytest.mark.parametrize("provider", "abcd")
async def test_a_request_goes_on_where_its_response_is_and_nowhere_else(make: Make, provider: str) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "abcd")))
    await made(gateway, provider)
    await made(gateway, provider, "conv_1")
    for body in (NEXT, IN_CONVERSATION):
        for path in (PATH, f"{PATH}/compact", f"{PATH}/input_tokens"):
            routing = await gateway.route(path, body, **ME)
            assert (routing.decision.reason, routing.decision.order) == ("pinned.object", (provider,))
            assert (routing.tries.each, routing.record.tries) == (2, 2)


async def test_a_provider_that_is_down_is_asked_all_the_same(make: Make) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "ab")))
    await made(gateway, "b")
    for _ in range(5):
        gateway.tracker.apply(AttemptFailed("b"))
    assert (await gateway.route(PATH, NEXT, **ME)).decision.order == ("b",)


async def test_what_is_not_known_goes_to_the_only_provider(make: Make) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "a"), make.provider("chat")))
    assert (await gateway.route(PATH, NEXT, **ME)).decision.order == ("a",)


@pytest.mark.parametrize("providers", ["a", "ab"])
async def test_what_is_anothers_is_not_known_even_to_the_only_provider(make: Make, providers: str) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, providers)))
    await made(gateway, "a")
    refusal = await gateway.answer(PATH, NEXT, **YOU)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.reason) == (400, "refused.object_gone")


def test_what_is_not_known_is_refused_as_openai_does_after_a_while(make: Make) -> None:
    async def story() -> None:
        gateway = Gateway(make.snapshot(*speaking(make, "ab")))
        asked = [asyncio.create_task(gateway.answer(PATH, body, **ME)) for body in (NEXT, IN_CONVERSATION)]
        for wait_s in WAITS_S:
            await pass_time(0)
            assert not any(task.done() for task in asked)
            await pass_time(wait_s)
        response, conversation = [await task for task in asked]
        assert isinstance(response, Refusal)
        assert isinstance(conversation, Refusal)
        assert (response.status, response.reason) == (400, "refused.object_gone")
        assert error(response) == {
            "message": "Previous response with id 'resp_1' not found.",
            "type": "invalid_request_error",
            "param": "previous_response_id",
            "code": "previous_response_not_found",
        }
        assert (conversation.status, error(conversation)["param"]) == (404, "conversation")
        assert error(conversation)["message"] == "Conversation with id 'conv_1' not found."

    run(story())


def test_a_client_that_is_quicker_than_the_log_waits_for_it(make: Make) -> None:
    async def story() -> None:
        gateway = Gateway(make.snapshot(*speaking(make, "ab")))
        asked = asyncio.create_task(gateway.route(PATH, NEXT, **ME))
        await pass_time(WAITS_S[0])
        await made(gateway, "b")
        assert not asked.done()
        await pass_time(WAITS_S[1])
        assert (await asked).decision.order == ("b",)

    run(story())


async def test_a_provider_that_was_removed_takes_what_it_has_with_it(make: Make) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "ab")))
    await made(gateway, "gone")
    refusal = await gateway.answer(PATH, NEXT, **ME)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "previous_response_not_found"


async def test_demands_that_rule_that_provider_out_are_named(make: Make) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "ab")))
    await made(gateway, "b")
    refusal = await gateway.answer(PATH, {**NEXT, "provider": {"ignore": ["b"]}}, **ME)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.param) == (400, "provider")
    assert "'b' alone" in refusal.message


@pytest.mark.parametrize(("fields", "kept"), [({}, True), ({"store": False}, False)])
async def test_an_answer_that_is_not_kept_has_no_owner(make: Make, fields: dict[str, Any], kept: bool) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "a")))
    record = (await gateway.route(PATH, {"model": MODEL, "input": "Hello", **fields}, **ME)).record
    assert bool(record.owner) == kept
    assert "me" not in record.owner


class AwayObjects:
    """An `ObjectMemory` whose server is away."""

    async def place(self, key: bytes, now_s: float) -> ObjectPlace | None:
        raise PlacesUnknownError("away")

    def note_place(self, key: bytes, place: ObjectPlace, now_s: float) -> None: ...


async def test_while_the_memory_is_away_nothing_is_said_to_be_gone(make: Make) -> None:
    for providers in ("a", "ab"):  # the only provider would answer whoever asks
        refusal = await Gateway(make.snapshot(*speaking(make, providers)), AwayObjects()).answer(PATH, NEXT, **ME)
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.reason, refusal.param) == (503, "refused.object_gone", "previous_response_id")


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"type": None, "id": "msg_1"},
        {"type": "image_generation_call", "id": "msg_1"},
        {"type": "reasoning", "id": "msg_1", "summary": []},
    ],
)
async def test_an_item_of_an_earlier_response_is_its_owners(make: Make, item: dict[str, Any]) -> None:
    gateway = Gateway(make.snapshot(*speaking(make, "ab")))
    await made(gateway, "b", "msg_1")
    body = {"model": MODEL, "input": [{"role": "user", "content": "Hi"}, item]}
    assert (await gateway.route(PATH, body, **ME)).decision.order == ("b",)
    refusal = await gateway.answer(PATH, body, **YOU)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.reason) == (404, "refused.object_gone")


async def test_an_id_is_known_to_its_owner_alone() -> None:
    pins = Pins(InProcessObjects(), b"secret", lambda: NOW)
    pins.note("me", "resp_1", "a")
    pins.note("you", "resp_1", "b")
    assert await pins.find("me", "resp_1", patiently=False) == Found("a")
    assert await pins.find("you", "resp_1", patiently=True) == Found(strangers=True)
    assert await pins.find("me", "resp_2", patiently=False) == Found()
