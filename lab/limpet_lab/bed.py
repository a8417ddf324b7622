"""A test bed: simulated sellers behind the real gateway, for the demo, the benchmarks and the tests.

async with Bed.start(configs, policy={"mode": "Off"}) as bed:
    client = AsyncOpenAI(base_url=bed.base_url, api_key="alice")
"""

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Self

from limpet_lab.sim.config import SellerConfig
from limpet_lab.sim.sellers import Seller, Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.resources.objects import Foreign, Objects, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey

Object = Mapping[str, Any]

_API = "limpet.dev/v1alpha1"


def objects_for(seller: Seller, model: str | None = None, **provider: Any) -> list[Object]:
    """Provider, Secret and Pricing of a seller as a user would write them; `model` is its only model's public name.

    Further keywords go into the Provider's spec.
    """
    config = seller.config
    models = [{"name": model or each.name, "upstreamName": each.name} for each in config.models]
    credential: dict[str, Any] = {"secretRef": {"name": seller.name, "key": "api-key"}}
    spec = {"vendor": config.vendor, "url": seller.base_url, "credential": credential, "models": models, **provider}
    key = config.api_keys[0] if config.api_keys else ""
    written: list[Object] = [
        {"apiVersion": _API, "kind": "Provider", "metadata": {"name": seller.name}, "spec": spec},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": seller.name}, "stringData": {"api-key": key}},
    ]
    prices = config.prices
    if prices is not None:
        reads = prices.input if prices.cache_read is None else prices.cache_read
        per_million = {"input": str(prices.input), "output": str(prices.output), "cacheRead": str(reads)}
        if prices.cache_write is not None:
            per_million["cacheWrite"] = str(prices.cache_write)
        if prices.cache_write_1h is not None:
            per_million["cacheWrite1h"] = str(prices.cache_write_1h)
        priced = [{"name": each["name"], "perMillionTokens": per_million} for each in models]
        written.append(
            {
                "apiVersion": _API,
                "kind": "Pricing",
                "metadata": {"name": seller.name},
                "spec": {"providerRef": {"name": seller.name}, "models": priced},
            }
        )
    return written


def policy_object(**spec: Any) -> Object:
    """A StickyPolicy for all models."""
    return {
        "apiVersion": _API,
        "kind": "StickyPolicy",
        "metadata": {"name": "default"},
        "spec": {"models": ["*"], **spec},
    }


class Bed:
    """The running sellers and the running gateway."""

    def __init__(self, sellers: Sellers, gateway: LocalGateway, parser: Parser) -> None:
        self.sellers = sellers
        self.gateway = gateway
        self._parser = parser
        self.plan = Plan()

    @property
    def base_url(self) -> str:
        """The gateway, for an SDK."""
        return self.gateway.base_url

    def apply(self, objects: Iterable[Object]) -> Plan:
        """Make these objects the whole configuration. Raises ValueError if one of them is wrong."""
        parsed: dict[ObjectKey, Any] = {}
        for raw in objects:
            result = self._parser.parse(raw)
            if isinstance(result, Invalid | Foreign):
                raise ValueError(str(result))  # noqa: TRY004
            parsed[result.key] = result
        self.plan = plan(Objects(parsed), os.environ, self.plan)
        wrong = [f"{key}: {findings}" for key, findings in self.plan.findings.items() if not findings.ok]
        if wrong:
            raise ValueError("; ".join(wrong))
        self.gateway.apply(self.plan)
        return self.plan

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        configs: Sequence[SellerConfig],
        *,
        model: str | None = None,
        policy: Mapping[str, Any] | None = None,
        settings: LocalSettings | None = None,
        parser: Parser | None = None,
    ) -> AsyncIterator[Self]:
        """Sellers first, then the gateway over them, ready to serve; everything has ended when the block ends."""
        settings = settings or LocalSettings()
        async with (
            Sellers.start(configs) as sellers,
            LocalGateway(replace(settings, port=free_port())) as gateway,
        ):
            bed = cls(sellers, gateway, parser or Parser.load())
            objects = [each for seller in sellers for each in objects_for(seller, model)]
            bed.apply([*objects, *([policy_object(**policy)] if policy else [])])
            await gateway.ready()
            yield bed
