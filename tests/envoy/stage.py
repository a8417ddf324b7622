"""The stage of a user story: its own providers over the shared sellers, behind the shared gateway.

Every stage has its own model name, provider names and client key, so nothing that one story taught the gateway (a
provider that is out, a conversation that is warm) can reach the next.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Any, Final, Protocol, Self

import aiohttp
import openai
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families
from tests.envoy.cast import PLAIN, PRICES, say
from tests.waiting import until

from limpet_lab.bed import policy_object
from limpet_lab.sim.record import Arrival
from limpet_lab.sim.sellers import Seller, Sellers
from limpet_operator.laptop.local import LocalGateway
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.resources.objects import Foreign, Objects, Parser
from limpet_operator.resources.problem import Invalid

_ANSWER_S: Final = 60.0
"""No client of a story waits longer, so that what hangs fails."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got: by which seller, why there, and the completion or the chunks of the stream put together."""

    seller: str
    decision: str
    text: str
    usage: Any
    tool: str | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """A response as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Front(Protocol):
    """What clients speak to: the shared gateway, or one that the story starts."""

    @property
    def base_url(self) -> str:
        """Where an SDK should point."""


class Stage:
    """One story's providers, model and client."""

    def __init__(self, number: int, sellers: Sellers, front: Front, parser: Parser, metrics_port: int) -> None:
        self.sellers = sellers
        self._front = front
        self.model = f"story-{number}/flash"
        self.key = f"client-key-{number}"
        self._suffix = f"-{number}"
        self._parser = parser
        self._metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._reached = 0

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S))
        self.client = AsyncOpenAI(base_url=self.base_url, api_key=self.key, max_retries=0, timeout=_ANSWER_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()
        await self.http.close()

    @property
    def gateway(self) -> LocalGateway:
        """The gateway, where it runs in this process."""
        assert isinstance(self._front, LocalGateway)
        return self._front

    @property
    def base_url(self) -> str:
        """The gateway, for an SDK."""
        return self._front.base_url

    @property
    def origin(self) -> str:
        """The gateway without a path."""
        return self.base_url.removesuffix("/v1")

    def provider(self, seller: str) -> str:
        """What a seller is called as a provider on this stage."""
        return seller + self._suffix

    def seller_of(self, provider: str | None) -> str:
        """The seller behind `x-limpet-provider`."""
        assert provider is not None, "no x-limpet-provider: no provider answered"
        assert provider.endswith(self._suffix), provider
        return provider.removesuffix(self._suffix)

    def objects(
        self,
        sellers: Sequence[str],
        specs: Mapping[str, Mapping[str, Any]],
        prices: Mapping[str, Mapping[str, str] | None],
        windows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        terms: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """Provider, Secret and Pricing of each; `specs` go over the Provider's, None in `prices` means unknown.

        `terms` are what a Pricing says of each model besides.
        """
        written: list[dict[str, Any]] = []
        for name in sellers:
            config, metadata = self.sellers[name].config, {"name": self.provider(name)}
            models = [{"name": self.model, "upstreamName": f"flash.{name}"}, {"name": PLAIN}]
            spec: dict[str, Any] = {"vendor": "DeepSeek", "url": self.sellers[name].base_url, "models": models}
            if config.credential is not None:
                where = {"header": config.credential.header.lower(), "scheme": config.credential.scheme}
                spec["credential"] = {"secretRef": {"name": self.provider(name), "key": "k"}, **where}
                written.append(
                    {
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": metadata,
                        "stringData": {"k": config.api_keys[0]},
                    }
                )
            spec |= specs.get(name, {})
            written.append(
                {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": metadata, "spec": spec}
            )
            price = prices.get(name, PRICES)
            if price is not None:
                told = {"perMillionTokens": price, **(terms or {}).get(name, {})}
                priced = {
                    "providerRef": metadata,
                    "models": [{"name": each["name"], **told} for each in spec["models"]],
                    "windows": (windows or {}).get(name, []),
                }
                written.append(
                    {"apiVersion": "limpet.dev/v1alpha1", "kind": "Pricing", "metadata": metadata, "spec": priced}
                )
        return written

    def planned(self, objects: Sequence[Mapping[str, Any]], env: Mapping[str, str]) -> Plan:
        """The plan of these objects, all of which must be right."""
        parsed: dict[Any, Any] = {}
        for raw in objects:
            result = self._parser.parse(raw)
            assert not isinstance(result, Invalid | Foreign), result
            parsed[result.key] = result
        return plan(Objects(parsed), env)

    async def serve(
        self,
        *sellers: str,
        specs: Mapping[str, Mapping[str, Any]] | None = None,
        prices: Mapping[str, Mapping[str, str] | None] | None = None,
        windows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        terms: Mapping[str, Mapping[str, Any]] | None = None,
        policy: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """Make these sellers the whole configuration of the gateway, and return when it is in force."""
        objects: list[Mapping[str, Any]] = [*self.objects(sellers, specs or {}, prices or {}, windows, terms)]
        if policy is not None:
            objects.append(policy_object(**policy))
        self.gateway.apply(self.planned(objects, env or {}))
        wanted = {self.provider(name) for name in sellers}

        async def in_force() -> bool:
            return await self.announced() == wanted and self.model.encode() in (await self.get("/v1/models")).body

        await until(in_force, f"{sorted(wanted)} in force")
        return self

    async def announced(self) -> set[str]:
        """The providers of this stage's model, from the refusal of a request that rules out all of them."""
        # Names of ours and none left: a list of strangers would be the affair of an OpenRouter among them.
        everybody = [self.provider(seller.config.name) for seller in self.sellers]
        demands = {"only": everybody, "ignore": everybody}
        nobody = {"model": self.model, "messages": [say("?")], "provider": demands}
        answer = await self.post(nobody)
        _, found, names = answer.body.decode().partition("It is served by: ")
        return set(names.partition('."')[0].split(", ")) if answer.status == 400 and found else set()

    async def ask(
        self,
        messages: Sequence[Mapping[str, Any]] | str,
        *,
        key: str | None = None,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Answer:
        """One request by the official SDK. `extra` are body fields that the SDK does not know."""
        client = self.client if key is None else self.client.with_options(api_key=key)
        if isinstance(messages, str):
            messages = [say(messages)]
        if stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            got = await client.chat.completions.with_raw_response.create(
                **{"model": self.model, "messages": messages, "extra_headers": headers, "extra_body": extra, **fields}
            )
        except openai.APIStatusError as error:
            self.note_reached(error.response.headers)
            raise
        self.note_reached(got.headers)
        seller, decision = self.seller_of(got.headers.get("x-limpet-provider")), got.headers["x-limpet-decision"]
        parsed: Any = got.parse()
        if not stream:
            message = parsed.choices[0].message
            calls = message.tool_calls or []
            return Answer(
                seller, decision, message.content or "", parsed.usage, calls[0].function.name if calls else None
            )
        text, usage, tool = "", None, None
        async for chunk in parsed:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or []:
                    tool = call.function.name or tool
        return Answer(seller, decision, text, usage, tool)

    async def post(
        self,
        body: object,
        *,
        headers: Mapping[str, str] | None = None,
        path: str = "/v1/chat/completions",
        key: str | None = None,
    ) -> Raw:
        """One raw request: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        known = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json", **(headers or {})}
        async with self.http.post(self.origin + path, data=BytesIO(data), headers=known) as response:
            self.note_reached(response.headers)
            return Raw(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    async def get(self, path: str) -> Raw:
        """One GET."""
        async with self.http.get(self.origin + path) as response:
            return Raw(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of one of the data plane's metrics: of this stage's providers, or of all where none is named."""
        total = 0.0
        for family in text_string_to_metric_families(await self.metrics_text()):
            for sample in family.samples:
                ours = sample.labels.get("provider", self._suffix).endswith(self._suffix)
                if sample.name == name and ours and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    async def metrics_text(self) -> str:
        """The data plane's metrics as Prometheus reads them."""
        async with self.http.get(self._metrics_url) as response:
            return await response.text()

    def note_reached(self, headers: Mapping[str, str]) -> None:
        """Count a request by its answer's headers, for `settle`."""
        self._reached += "x-limpet-provider" in headers

    async def settle(self) -> None:
        """Return when the data plane has heard of the outcome of every request so far."""

        async def heard() -> bool:
            return await self.metric("limpet_requests_total") >= self._reached

        await until(heard, f"the outcome of {self._reached} requests")

    async def out(self, seller: str) -> None:
        """Return when traffic has taken a seller out."""

        async def is_out() -> bool:
            return await self.metric("limpet_provider_out", provider=self.provider(seller)) == 1.0

        await until(is_out, f"{seller} out")

    async def arrivals(self, seller: str) -> list[Arrival]:
        """What a seller got since the stage was set."""
        return await self.sellers[seller].requests()

    def each(self, *names: str) -> list[Seller]:
        """Sellers by name."""
        return [self.sellers[name] for name in names]
