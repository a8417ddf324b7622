"""Responses by the official SDK: what goes on from one goes to the provider that has it, and is its owner's alone."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from tests.envoy.cast import LONG
from tests.envoy.group import all_decide, gateway_of_two, shared_memory
from tests.envoy.keepers import NAMES, keepers_stage, keeping, of
from tests.envoy.stage import Stage
from tests.extproc.memory.redis_server import RedisServer, servers

from limpet_lab.sim.faults import Fault
from limpet_operator.laptop.local import LocalGateway
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def stage(numbers: Iterator[int], by_metadata: tuple[LocalGateway, int], parser: Parser) -> AsyncIterator[Stage]:
    async with keepers_stage(numbers, by_metadata, parser) as ready:
        yield ready


@pytest_asyncio.fixture(loop_scope="session")
async def header_stage(
    numbers: Iterator[int], by_header: tuple[LocalGateway, int], parser: Parser
) -> AsyncIterator[Stage]:
    async with keepers_stage(numbers, by_header, parser) as ready:
        yield ready


async def _respond(stage: Stage, input_: str, **fields: Any) -> tuple[Any, str, str]:
    """The response, its seller and the reason."""
    raw = await stage.client.responses.with_raw_response.create(model=stage.model, input=input_, **fields)
    return raw.parse(), stage.seller_of(raw.headers.get("x-limpet-provider")), raw.headers["x-limpet-decision"]


async def test_each_turn_goes_on_where_the_last_one_is_however_soon(stage: Stage) -> None:
    for opener in ("Where does a limpet live?", "And a whelk?", "And a mussel?"):
        response, home, reason = await _respond(stage, opener, instructions=LONG)
        assert reason == "first.scored"
        for _ in range(3):
            response, seller, reason = await _respond(stage, "And then?", previous_response_id=response.id)
            assert (seller, reason) == (home, "pinned.object")
            assert response.output_text


async def test_a_stream_is_gone_on_from_as_soon_as_it_ends(stage: Stage) -> None:
    stream = await stage.client.responses.create(model=stage.model, input="Hello", stream=True)
    ids = {event.response.id async for event in stream if event.type in ("response.created", "response.completed")}
    assert len(ids) == 1
    _, _, reason = await _respond(stage, "And then?", previous_response_id=ids.pop())
    assert reason == "pinned.object"


async def test_a_provider_that_fails_is_not_left_for_one_that_has_nothing(stage: Stage) -> None:
    response, home, _ = await _respond(stage, "Hello")
    await stage.sellers[home].set_fault(Fault(kind="status", status=503, on="responses"))
    with pytest.raises(openai.InternalServerError) as caught:
        await _respond(stage, "And then?", previous_response_id=response.id)
    assert caught.value.response.headers["x-limpet-decision"] == "pinned.object"
    others = [name for name in NAMES if name != home]
    assert [len(await stage.arrivals(name)) for name in others] == [0, 0]
    await stage.sellers[home].set_fault(Fault())
    _, seller, _ = await _respond(stage, "And then?", previous_response_id=response.id)
    assert seller == home


async def test_what_is_gone_is_said_in_the_words_of_openais_api(stage: Stage) -> None:
    response, home, _ = await _respond(stage, "Hello")
    left = {name: {"url": stage.sellers[name].base_url, **keeping()} for name in NAMES if name != home}
    await stage.serve(*left, specs=left)
    for previous in (response.id, "resp_never_made"):
        with pytest.raises(openai.BadRequestError) as caught:
            await _respond(stage, "And then?", previous_response_id=previous)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
        assert caught.value.response.headers["x-limpet-decision"] == "refused.object_gone"
    with pytest.raises(openai.NotFoundError):
        await stage.client.responses.retrieve(response.id)


async def test_a_response_is_read_cancelled_and_deleted_by_its_owner_alone(stage: Stage) -> None:
    response, home, _ = await _respond(stage, "Hello", background=True)
    stranger = of(stage, "another key").responses
    for ask in (stranger.retrieve, stranger.cancel, stranger.delete, stranger.input_items.list):
        with pytest.raises(openai.NotFoundError):
            await ask(response.id)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {stage.key}"}) as client:
        head = await client.head(f"{stage.origin}/v1/responses/{response.id}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["x-limpet-decision"] == "pinned.object"
    raw = await stage.client.responses.with_raw_response.retrieve(response.id)
    assert stage.seller_of(raw.headers.get("x-limpet-provider")) == home
    assert raw.parse().id == response.id
    items = await stage.client.responses.input_items.list(response.id)
    assert items.data
    assert (await stage.client.responses.cancel(response.id)).id == response.id
    await stage.client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError) as caught:
        await stage.client.responses.retrieve(response.id)
    assert stage.seller_of(caught.value.response.headers["x-limpet-provider"]) == home, "it says so itself"


async def test_a_conversation_stays_where_it_was_made(stage: Stage) -> None:
    conversation = await stage.client.conversations.create()
    homes = set()
    for _ in range(3):
        _, seller, reason = await _respond(stage, "Hello", conversation=conversation.id)
        homes.add((seller, reason))
    assert len(homes) == 1
    assert homes.pop()[1] == "pinned.object"
    with pytest.raises(openai.NotFoundError):
        await of(stage, "another key").responses.create(model=stage.model, input="x", conversation=conversation.id)


async def test_a_conversation_that_nobody_made_is_not_found_and_takes_no_model_out(stage: Stage) -> None:
    alone = {"url": stage.sellers["k"].base_url, **keeping(), "endpoints": ["embeddings"]}
    await stage.serve("k", specs={"k": alone})
    before = len(await stage.arrivals("k"))
    for _ in range(4):
        with pytest.raises(openai.NotFoundError) as caught:
            await stage.client.responses.create(model=stage.model, input="x", conversation="conv_zz")
        assert caught.value.body == {
            "message": "Conversation with id 'conv_zz' not found.",
            "type": "invalid_request_error",
            "param": "conversation",
            "code": None,
        }
    assert len(await stage.arrivals("k")) == before + 4, "the only provider says so itself"
    await stage.settle()
    _, _, reason = await _respond(stage, "Hello")
    assert reason != "last_resort.all_out"


async def test_header_mode_keeps_what_is_pinned(header_stage: Stage) -> None:
    stage = header_stage
    response, home, _ = await _respond(stage, "Hello")
    _, seller, _ = await _respond(stage, "And then?", previous_response_id=response.id)
    assert seller == home
    raw = await stage.client.responses.with_raw_response.retrieve(response.id)
    assert stage.seller_of(raw.headers.get("x-limpet-provider")) == home


async def test_two_workers_and_a_redis_know_the_same(numbers: Iterator[int], parser: Parser, tmp_path: Path) -> None:
    with servers(RedisServer(tmp_path)) as (redis,):
        async with (
            gateway_of_two(shared_memory(redis.url, tmp_path)) as running,
            keepers_stage(numbers, running, parser) as stage,
        ):
            await all_decide(stage)
            for number in range(10):
                response, home, _ = await _respond(stage, f"Hello {number}")
                raw = await stage.client.responses.with_raw_response.retrieve(response.id)
                assert stage.seller_of(raw.headers.get("x-limpet-provider")) == home
                response, seller, reason = await _respond(stage, "And then?", previous_response_id=response.id)
                assert (seller, reason) == (home, "pinned.object")
                with pytest.raises(openai.NotFoundError):
                    await of(stage, "another key").responses.delete(response.id)
