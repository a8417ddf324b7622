"""The list of models, as each SDK expects it."""

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from tests.envoy.sdk.gate import MODEL, ODD, ROCK

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


async def test_openai(of_openai: AsyncOpenAI) -> None:
    assert {model.id async for model in of_openai.models.list()} == {MODEL, ODD, ROCK}
    assert (await of_openai.models.retrieve(MODEL)).object == "model"
    with pytest.raises(openai.NotFoundError):
        await of_openai.models.retrieve("nobody")


async def test_anthropic(of_anthropic: AsyncAnthropic) -> None:
    assert {model.id async for model in of_anthropic.models.list()} == {MODEL, ODD, ROCK}
    found = await of_anthropic.models.retrieve(MODEL)
    assert (found.id, found.type) == (MODEL, "model")
    assert found.created_at.tzinfo is not None
    with pytest.raises(anthropic.NotFoundError):
        await of_anthropic.models.retrieve("nobody")
