"""One gateway for all files here, and its clients."""

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.envoy.sdk.gate import Gate


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with Gate.start(tmp_path_factory.mktemp("sdk")) as gate:
        yield gate


@pytest_asyncio.fixture(loop_scope="session")
async def gate(running: Gate) -> Gate:
    """Without what the last story left at the sellers."""
    await running.start_over()
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def of_openai(gate: Gate) -> AsyncIterator[openai.AsyncOpenAI]:
    async with gate.of_openai() as sdk:
        yield sdk


@pytest_asyncio.fixture(loop_scope="session")
async def of_anthropic(gate: Gate) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with gate.of_anthropic() as sdk:
        yield sdk
