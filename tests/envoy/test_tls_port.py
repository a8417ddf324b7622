"""The gateway's port for `https://` with the real Envoy: it opens with a certificate and takes over a new one."""

import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import aiohttp
import httpx2
import pytest
import pytest_asyncio
import trustme
from openai import AsyncOpenAI
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.serving_certificate import ServingCertificate
from limpet_operator.sources.serving_certificate import read_serving_certificate

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


def certificate(authority: trustme.CA) -> ServingCertificate:
    issued = authority.issue_cert("localhost")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return read_serving_certificate(chain, issued.private_key_pem.bytes())


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())


@pytest_asyncio.fixture(loop_scope="session")
async def stage(numbers: Iterator[int], sellers: Sellers, parser: Parser) -> AsyncIterator[Stage]:
    """A stage over a gateway that has a port for TLS, and no certificate yet."""
    for seller in sellers:
        await seller.reset()
    metrics_port = free_port()
    settings = LocalSettings(
        port=free_port(),
        tls_port=free_port(),
        extproc_metrics_port=metrics_port,
        drain_s=0.5,
        tenant_from_workload=True,
    )
    async with LocalGateway(settings) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        async with Stage(next(numbers), sellers, gateway, parser, metrics_port) as ready:
            yield ready


async def status(port: int | None, authority: trustme.CA) -> int | None:
    """Of the gateway's page, for a client that trusts this authority alone; None: there is no TLS for it."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"https://localhost:{port}/v1/models", ssl=trusting(authority)) as answer:
                return answer.status
        except aiohttp.ClientError:
            return None


async def test_it_opens_with_a_certificate_takes_over_a_new_one_and_serves_sdks(stage: Stage) -> None:
    first, second = trustme.CA(), trustme.CA()
    gateway = stage.gateway
    port = gateway.settings.tls_port
    plan = stage.planned(stage.objects(["a", "b"], {}, {}), {})
    await stage.serve("a", "b")
    assert await status(port, first) is None, "closed"

    async def served_to(authority: trustme.CA) -> bool:
        return await status(port, authority) == 200

    gateway.apply(replace(plan, certificate=certificate(first)))
    await until(lambda: served_to(first), "the first certificate")
    async with AsyncOpenAI(
        base_url=f"https://localhost:{port}/v1",
        api_key=stage.key,
        max_retries=0,
        http_client=httpx2.AsyncClient(verify=trusting(first)),
    ) as sdk:
        turns = [say(LONG, "system"), say("Over TLS")]
        decisions = []
        for _ in range(2):
            raw = await sdk.chat.completions.with_raw_response.create(model=stage.model, messages=turns)
            decisions.append(raw.headers["x-limpet-decision"])
            assert raw.parse().usage is not None
            await stage.settle()
        assert decisions == ["first.scored", "sticky.hit"]
        gateway.apply(replace(plan, certificate=certificate(second)))
        await until(lambda: served_to(second), "the second certificate")
        assert await status(port, first) is None
        # Connections that were open go on.
        raw = await sdk.chat.completions.with_raw_response.create(model=stage.model, messages=turns)
        assert raw.headers["x-limpet-decision"] == "sticky.hit"
