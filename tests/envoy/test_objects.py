"""Files, batches and conversations, where Providers list them; and APIs that keep nothing."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest
import pytest_asyncio
from tests.envoy.cast import body_of
from tests.envoy.keepers import keepers_stage, of
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage

from limpet_operator.laptop.local import LocalGateway
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def stage(numbers: Iterator[int], by_metadata: tuple[LocalGateway, int], parser: Parser) -> AsyncIterator[Stage]:
    async with keepers_stage(numbers, by_metadata, parser) as ready:
        yield ready


async def test_a_batch_is_made_where_its_file_is_and_both_are_their_owners_alone(stage: Stage) -> None:
    for number in range(3):
        mine, stranger = of(stage, f"client {number}"), of(stage, f"stranger {number}")
        uploaded = await mine.files.with_raw_response.create(file=("a.jsonl", b"{}\n" * 50_000), purpose="batch")
        home, file = uploaded.headers.get("x-limpet-provider"), uploaded.parse()
        made = await mine.batches.with_raw_response.create(
            input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
        )
        batch = made.parse()
        assert made.headers.get("x-limpet-provider") == home
        assert made.headers["x-limpet-decision"] == "pinned.object"
        assert (await mine.batches.retrieve(batch.id)).id == batch.id
        assert (await mine.files.content(file.id)).content == b"{}\n" * 50_000
        for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
            with pytest.raises(openai.NotFoundError):
                await ask(file.id)
        with pytest.raises(openai.NotFoundError):
            await stranger.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
        assert (await mine.files.delete(file.id)).deleted


async def test_a_list_is_refused(stage: Stage) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await stage.client.files.list()
    assert (caught.value.status_code, caught.value.code) == (405, "list_not_supported")


async def test_a_path_cannot_leave_its_object(stage: Stage) -> None:
    file = await stage.client.files.create(file=("a.txt", b"x"), purpose="batch")
    theirs = await of(stage, "another key").files.create(file=("b.txt", b"y"), purpose="batch")
    for dots in ("..", "%2e%2e", "%2E%2E%2F.."):
        path = f"/v1/files/{file.id}/{dots}/{theirs.id}"
        answer = await send(stage.origin, request("GET", path, f"authorization: Bearer {stage.key}"))
        assert answer.status == 404, dots


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_sound_goes_by_the_model_that_its_form_names(stage: Stage, size: int) -> None:
    sound = ("a.mp3", b"\r\n--x\r\n" * (size // 7))
    raw = await stage.client.audio.transcriptions.with_raw_response.create(file=sound, model=stage.model)
    seller = stage.seller_of(raw.headers.get("x-limpet-provider"))
    (arrival,) = await stage.arrivals(seller)
    form = body_of(arrival)
    assert f'name="model"\r\n\r\nflash.{seller}\r\n'.encode() in form
    assert sound[1] in form
    with pytest.raises(openai.NotFoundError) as caught:
        await stage.client.audio.transcriptions.create(file=sound, model="never-heard-of")
    assert caught.value.response.headers["x-limpet-decision"] == "refused.unknown_model"


async def test_embeddings_are_spread_and_named_as_each_provider_does(stage: Stage) -> None:
    homes = set()
    for number in range(12):
        raw = await stage.client.embeddings.with_raw_response.create(model=stage.model, input=f"text {number}")
        assert raw.headers["x-limpet-decision"] == "stateless.spread"
        homes.add(stage.seller_of(raw.headers.get("x-limpet-provider")))
    assert len(homes) > 1
