"""A gateway whose clients need keys, and requests with them."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.envoy.cast import say
from tests.envoy.stage import Raw, Stage
from tests.waiting import until

from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser

LAPTOP = "lpk-laptop-0123456789abcdef"
ROBOT = "lpk-robot-0123456789abcdef"
BOTH_APIS = {"dialects": ["OpenAIChat", "AnthropicMessages"], "endpoints": ["embeddings", "files", "batches"]}


def secret(**entries: str) -> dict[str, Any]:
    """A Secret with keys of clients."""
    labels = {"limpet.dev/client-keys": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "clients", "labels": labels},
        "stringData": entries,
    }


class Guarded:
    """A stage whose clients need keys."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def serve(self, *sellers: str, specs: Mapping[str, Any] | None = None, **entries: str) -> None:
        """These sellers, for these clients; returns when both are in force."""
        objects = [*self.stage.objects(sellers, specs or {}, {}), secret(**entries)]
        self.stage.gateway.apply(self.stage.planned(objects, {}))

    async def until_status(self, key: str | None, status: int) -> None:
        """Return when this key has this answer."""

        async def so() -> bool:
            return (await self.chat(key)).status == status

        await until(so, f"{status} for {key}")

    async def until_known(self, key: str) -> None:
        """Return when this key is one of a client, without a request to a provider."""

        async def so() -> bool:
            answer = await self.send("GET", "/v1/models", None, key)
            return answer.status == 200 and self.stage.model in answer.body.decode()

        await until(so, "a client's key")

    async def chat(self, key: str | None = None, text: str = "Hello", **headers: str) -> Raw:
        """A turn, with this key or none."""
        return await self.send("POST", "/v1/chat/completions", self.turn(text), key, **headers)

    def turn(self, text: str = "Hello", **fields: Any) -> dict[str, Any]:
        """The body of a turn."""
        return {"model": self.stage.model, "messages": [say(text)], **fields}

    async def send(self, method: str, path: str, body: object = None, key: str | None = None, **headers: str) -> Raw:
        """Any request."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("content-type", "application/json")
        async with self.stage.http.request(method, self.stage.origin + path, data=data, headers=sent) as response:
            self.stage.note_reached(response.headers)
            return Raw(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    async def reached(self) -> int:
        """Requests that any seller has seen."""
        return sum([len(await seller.requests()) for seller in self.stage.sellers])


@asynccontextmanager
async def guarded(
    number: int, sellers: Sellers, parser: Parser, mode: ClientKeysMode, **more: Any
) -> AsyncIterator[Guarded]:
    """A gateway of this mode, with a stage of its own."""
    metrics_port = free_port()
    settings = LocalSettings(port=free_port(), extproc_metrics_port=metrics_port, drain_s=0.5)
    async with LocalGateway(replace(settings, client_keys=mode, **more)) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        async with Stage(number, sellers, gateway, parser, metrics_port) as stage:
            yield Guarded(stage)
