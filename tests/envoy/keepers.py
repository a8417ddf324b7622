"""Three sellers that keep what they answer, as OpenAI does: each in its own account, and nothing of the others'."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from openai import AsyncOpenAI
from tests.envoy.cast import PLAIN
from tests.envoy.conftest import set_stage
from tests.envoy.stage import Stage

from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.rules import Auth
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway
from limpet_operator.resources.objects import Parser

ENDPOINTS: Final = ("audio", "batches", "conversations", "embeddings", "files")
NAMES: Final = ("k", "l", "m")


def keeping() -> dict[str, Any]:
    """The Provider of each."""
    return {
        "vendor": "OpenAI",
        "dialects": ["OpenAIChat", "OpenAIResponses"],
        "endpoints": [*ENDPOINTS],
    }


@asynccontextmanager
async def keepers_stage(
    numbers: Iterator[int], running: tuple[LocalGateway, int], parser: Parser
) -> AsyncIterator[Stage]:
    """A stage on which they serve."""
    models = (*(SellerModel(f"flash.{name}") for name in NAMES), SellerModel(PLAIN))
    configs = [
        SellerConfig(
            name=name, vendor="OpenAI", models=models, api_keys=(f"key-of-{name}",), credential=Auth(), record=True
        )
        for name in NAMES
    ]
    async with (
        Sellers.start(configs) as sellers,
        set_stage(next(numbers), sellers, running, parser) as stage,
    ):
        yield await stage.serve(*NAMES, specs={name: {"url": sellers[name].base_url, **keeping()} for name in NAMES})


def of(stage: Stage, key: str) -> AsyncOpenAI:
    """The SDK of another client of the gateway."""
    return stage.client.with_options(api_key=key)
