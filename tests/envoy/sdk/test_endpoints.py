"""All other endpoints, by OpenAI's SDK where it has them."""

from base64 import b64decode

import openai
import pytest
from openai import AsyncOpenAI
from tests.envoy.cast import say
from tests.envoy.sdk.gate import MODEL, Gate

from limpet_lab.sim.endpoints_media import PIXEL, SOUND

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_completions(of_openai: AsyncOpenAI, stream: bool) -> None:
    if stream:
        chunks = [c async for c in await of_openai.completions.create(model=MODEL, prompt="Where?", stream=True)]
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        assert {chunk.model for chunk in chunks} == {MODEL}
    else:
        answer = await of_openai.completions.create(model=MODEL, prompt="Where?")
        assert answer.choices[0].text
        assert answer.model == MODEL


async def test_embeddings(of_openai: AsyncOpenAI, gate: Gate) -> None:
    raw = await of_openai.embeddings.with_raw_response.create(model=MODEL, input=["a", "b"])
    answer = raw.parse()
    assert raw.headers["x-limpet-provider"] == "open"
    assert raw.headers["x-limpet-decision"] == "stateless.spread"
    assert [len(each.embedding) for each in answer.data] == [8, 8]
    assert answer.model == MODEL
    assert (await gate.sellers["open"].ledger()).totals.prompt == answer.usage.prompt_tokens


async def test_moderations(of_openai: AsyncOpenAI) -> None:
    answer = await of_openai.moderations.create(model=MODEL, input="violence")
    assert answer.results[0].flagged


async def test_images_generate(of_openai: AsyncOpenAI) -> None:
    answer = await of_openai.images.generate(model=MODEL, prompt="A limpet")
    assert answer.data is not None
    assert b64decode(answer.data[0].b64_json or "") == PIXEL


async def test_images_edit(of_openai: AsyncOpenAI) -> None:
    answer = await of_openai.images.edit(model=MODEL, prompt="Blue", image=("a.png", PIXEL, "image/png"))
    assert answer.data is not None
    assert b64decode(answer.data[0].b64_json or "") == PIXEL


async def test_audio_speech(of_openai: AsyncOpenAI) -> None:
    spoken = await of_openai.audio.speech.create(model=MODEL, voice="alloy", input="Home.")
    assert await spoken.aread() == SOUND


async def test_audio_transcriptions(of_openai: AsyncOpenAI) -> None:
    sound = SOUND * 1000
    heard = await of_openai.audio.transcriptions.create(model=MODEL, file=("a.mp3", sound))
    assert heard.text == f"{len(sound)} bytes of sound"


async def test_rerank(gate: Gate) -> None:
    body = {"model": MODEL, "query": "home rock", "documents": ["sea", "home rock"], "top_n": 1}
    async with gate.http() as http:
        answer = await http.post("/v1/rerank", json=body)
    assert answer.headers["x-limpet-provider"] == "ranks"
    assert [each["index"] for each in answer.json()["results"]] == [1]
    assert answer.json()["model"] in (MODEL, f"{MODEL}-of-ranks")


async def test_files_where_a_provider_allows_them(of_openai: AsyncOpenAI, gate: Gate) -> None:
    file = await of_openai.files.create(file=("lines.jsonl", b'{"a": 1}\n'), purpose="batch")
    assert (await of_openai.files.retrieve(file.id)).bytes == 9
    assert (await of_openai.files.content(file.id)).content == b'{"a": 1}\n'
    async with gate.of_openai("somebody-else") as other:
        with pytest.raises(openai.NotFoundError):
            await other.files.retrieve(file.id)
    assert (await of_openai.files.delete(file.id)).deleted


@pytest.mark.parametrize("api", ["batches", "assistants", "fine_tuning/jobs", "uploads", "vector_stores", "evals"])
async def test_objects_where_none_allows_them(of_openai: AsyncOpenAI, api: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await of_openai.post(f"/{api}", body={"model": MODEL}, cast_to=object)
    assert refused.value.status_code in (403, 404)
    assert f"/v1/{api}" in refused.value.message


async def test_realtime(of_openai: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await of_openai.post("/realtime/client_secrets", body={}, cast_to=object)
    assert "realtime" in refused.value.message.lower()


async def test_azure(gate: Gate) -> None:
    async with gate.of_azure() as sdk:
        chat = await sdk.chat.completions.create(model=MODEL, messages=[say("Where is home?")])
        assert chat.choices[0].message.content
        assert len((await sdk.embeddings.create(model=MODEL, input="a")).data) == 1
        assert (await sdk.responses.create(model=MODEL, input="Where is home?")).output_text
