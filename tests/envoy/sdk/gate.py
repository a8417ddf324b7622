"""The gateway that official SDKs call here: `limpet up` over one provider of each dialect, with the same model."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx
from anthropic import AsyncAnthropic
from openai import AsyncAzureOpenAI, AsyncOpenAI
from tests.envoy.command import Command, write
from tests.envoy.upstream import Upstream
from tests.waiting import until

from limpet_lab.bed import objects_for
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.ledger import Row
from limpet_lab.sim.sellers import Seller, Sellers

MODEL: Final = "tide"
"""By this name clients ask; each provider has another."""

ROCK: Final = "rock"
"""The same at those alone that speak chat completions themselves."""

ODD: Final = "odd"
"""A model of a raw upstream that speaks Messages and does what a story wants."""

_VENDORS: Final = {"open": "OpenAI", "claude": "Anthropic", "plain": "Baseten", "ranks": "Together"}
"""`open` speaks chat and Responses and has the other endpoints; `claude` Messages alone; `plain` chat alone."""

CHAT: Final = ("open", "plain", "claude")
"""All can be asked for a chat completion, the last one by translation."""

_SPECS: Final[Mapping[str, Mapping[str, Any]]] = {
    "open": {"endpoints": ["completions", "embeddings", "moderations", "images", "audio", "files", "conversations"]},
    "ranks": {"dialects": [], "endpoints": ["rerank"]},
}
_ANSWER_S: Final = 60.0
"""No client waits longer, so that what hangs fails."""


@dataclass
class Gate:
    """What runs, and the clients of a story."""

    command: Command
    sellers: Sellers
    upstream: Upstream
    _clients: list[Any] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """The gateway without a path: the base URL for Anthropic's SDK."""
        return self.command.base_url.removesuffix("/v1")

    def of_openai(self, user: str = "sdk") -> AsyncOpenAI:
        """OpenAI's SDK as its users set it up."""
        return AsyncOpenAI(base_url=self.command.base_url, api_key=user, max_retries=0, timeout=_ANSWER_S)

    def of_azure(self) -> AsyncAzureOpenAI:
        """The same for those who come from Azure."""
        return AsyncAzureOpenAI(
            azure_endpoint=self.origin, api_key="azure", api_version="2026-01-01", max_retries=0, timeout=_ANSWER_S
        )

    def of_anthropic(self, user: str = "sdk") -> AsyncAnthropic:
        """Anthropic's SDK as its users set it up."""
        return AsyncAnthropic(base_url=self.origin, api_key=user, max_retries=0, timeout=_ANSWER_S)

    def http(self) -> httpx.AsyncClient:
        """Plain HTTP."""
        headers = {"authorization": "Bearer sdk"}
        return httpx.AsyncClient(base_url=self.origin, headers=headers, timeout=_ANSWER_S)

    async def start_over(self) -> None:
        """Forget what the sellers were asked."""
        for seller in self.sellers:
            await seller.reset()

    async def rows(self, seller: str, count: int = 1) -> tuple[Row, ...]:
        """The bill of a seller, once it has so many rows: a client may have its answer a moment before it is booked."""

        async def booked() -> bool:
            return len((await self.sellers[seller].ledger()).rows) >= count

        await until(booked, f"{count} rows at {seller}")
        return (await self.sellers[seller].ledger()).rows

    @classmethod
    @asynccontextmanager
    async def start(cls, directory: Path) -> AsyncIterator[Self]:
        """Everything, ready."""
        configs = [
            SellerConfig(
                name,
                tuple(SellerModel(f"{model}-of-{name}") for model in _models(name)),
                vendor=vendor,
                api_keys=(f"key-of-{name}",),
                record=True,
            )
            for name, vendor in _VENDORS.items()
        ]
        async with Sellers.start(configs) as sellers, Upstream() as upstream, Command.up(directory) as command:
            gate = cls(command, sellers, upstream)
            odd = {
                "vendor": "Anthropic",
                "url": upstream.url,
                "credential": {"secretRef": {"name": "open", "key": "api-key"}},
                "models": [{"name": ODD}],
            }
            metadata = {"name": ODD}
            provider = {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": metadata, "spec": odd}
            described = [each for seller in sellers for each in _objects(seller)]
            write(directory, "all.yaml", [*described, provider])
            await command.says("Ctrl-C ends everything")
            await gate._in_force()
            yield gate

    async def _in_force(self) -> None:
        async with self.http() as http:

            async def listed() -> bool:
                answer = await http.get("/v1/models")
                return answer.status_code == 200 and {MODEL, ROCK, ODD} <= {
                    each["id"] for each in answer.json()["data"]
                }

            await until(listed, "the models")


def _models(seller: str) -> tuple[str, ...]:
    return (MODEL, ROCK) if seller in ("open", "plain") else (MODEL,)


def _objects(seller: Seller) -> list[Any]:
    name = seller.config.name
    models = [{"name": model, "upstreamName": f"{model}-of-{name}"} for model in _models(name)]
    return list(objects_for(seller, models=models, **_SPECS.get(name, {})))
