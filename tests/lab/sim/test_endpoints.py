"""The other endpoints of sellers, as OpenAI's official SDK sees them; rerank over plain HTTP."""

from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.endpoints_media import PIXEL, SOUND
from limpet_lab.sim.sellers import Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Sellers]:
    models = (SellerModel("m"),)
    configs = [
        SellerConfig("OpenAI", models, vendor="OpenAI", api_keys=("one", "two")),
        SellerConfig("Together", models, vendor="Together", api_keys=("one",)),
    ]
    async with Sellers.start(configs) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(sellers: Sellers) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sellers["OpenAI"].base_url, api_key="one", max_retries=0) as sdk:
        yield sdk


async def test_legacy_completions_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    whole = await client.completions.create(model="m", prompt="Where is home?")
    stream = await client.completions.create(
        model="m", prompt="Where is home?", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


async def test_embeddings_in_either_encoding(client: openai.AsyncOpenAI, sellers: Sellers) -> None:
    floats = await client.embeddings.create(model="m", input=["a", "b"], encoding_format="float", dimensions=4)
    packed = await client.embeddings.create(model="m", input=["a", "b"], dimensions=4)
    assert [len(each.embedding) for each in floats.data] == [4, 4]
    assert packed.data[1].embedding == pytest.approx(floats.data[1].embedding)
    assert floats.data[0] != floats.data[1]
    assert [row.prompt for row in (await sellers["OpenAI"].ledger()).rows] == [floats.usage.prompt_tokens] * 2


async def test_moderations(client: openai.AsyncOpenAI) -> None:
    judged = await client.moderations.create(model="m", input=["a limpet", "violence"])
    assert [(each.flagged, each.categories.violence) for each in judged.results] == [(False, False), (True, True)]


async def test_images_are_made_and_edited(client: openai.AsyncOpenAI) -> None:
    made = await client.images.generate(model="m", prompt="A limpet", n=2)
    edited = await client.images.edit(model="m", prompt="Blue", image=("a.png", PIXEL, "image/png"))
    assert made.data is not None
    assert edited.data is not None
    assert [b64decode(image.b64_json or "") for image in (*made.data, *edited.data)] == [PIXEL] * 3


async def test_speech_and_what_was_said(client: openai.AsyncOpenAI) -> None:
    spoken = await client.audio.speech.create(model="m", voice="alloy", input="Home.")
    assert await spoken.aread() == SOUND
    heard = await client.audio.transcriptions.create(model="m", file=("a.mp3", SOUND))
    assert heard.text == f"{len(SOUND)} bytes of sound"


async def test_documents_are_ranked(sellers: Sellers) -> None:
    body = {"model": "m", "query": "home rock", "documents": ["sea", "home rock", "rock"], "top_n": 2}
    async with httpx.AsyncClient(headers={"authorization": "Bearer one"}) as http:
        answer = await http.post(sellers["Together"].base_url + "/rerank", json=body)
    assert [each["index"] for each in answer.json()["results"]] == [1, 2]


async def test_files_and_batches_are_of_their_account(client: openai.AsyncOpenAI) -> None:
    file = await client.files.create(file=("lines.jsonl", b'{"a": 1}\r\n\r\n'), purpose="batch")
    assert (file.bytes, file.filename) == (12, "lines.jsonl")
    assert (await client.files.content(file.id)).content == b'{"a": 1}\r\n\r\n'
    assert [each.id async for each in client.files.list()] == [file.id]
    batch = await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    other = client.with_options(api_key="two")
    with pytest.raises(openai.NotFoundError):
        await other.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        await other.batches.retrieve(batch.id)
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embeddings", {"model": "m", "input": "a", "messages": []}),
        ("/embeddings", {"model": "m"}),
        ("/moderations", {"input": "a"}),
        ("/completions", {"model": "m"}),
        ("/images/generations", {"model": "m"}),
        ("/audio/speech", {"model": "m", "input": "a"}),
        ("/audio/transcriptions", {"model": "m"}),
    ],
)
async def test_what_breaks_a_rule_is_refused(client: openai.AsyncOpenAI, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.post(path, body=body, cast_to=object)


async def test_what_a_vendor_has_not_is_not_found(sellers: Sellers) -> None:
    async with openai.AsyncOpenAI(base_url=sellers["Together"].base_url, api_key="one", max_retries=0) as sdk:
        with pytest.raises(openai.NotFoundError):
            await sdk.moderations.create(model="m", input="a")
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.create(model="m", input="a")
