"""Applications that keep `https://` and the vendor's host: their own TLS reaches the gateway through both sidecars."""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import openai
import pytest
import pytest_asyncio
import trustme
from openai import AsyncOpenAI
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, headers_of, say
from tests.mesh.inside import sdk_client
from tests.mesh.story import MeshStage, Town

from limpet_lab.sim.sellers import Sellers
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.serving_certificate import ServingCertificate
from limpet_operator.sources.serving_certificate import read_serving_certificate

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

VENDOR = "vendor.example"
"""Nobody but the gateway speaks TLS for it."""


class CertifiedStage(MeshStage):
    """A stage whose gateway has a certificate for the vendor's host."""

    certificate: ServingCertificate | None = None

    def planned(self, objects: Sequence[Mapping[str, Any]], env: Mapping[str, str]) -> Plan:
        return replace(super().planned(objects, env), certificate=self.certificate)


def issued(authority: trustme.CA) -> ServingCertificate:
    leaf = authority.issue_cert(VENDOR)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    return read_serving_certificate(chain, leaf.private_key_pem.bytes())


@pytest_asyncio.fixture(loop_scope="session")
async def stage(numbers: Iterator[int], sellers: Sellers, town: Town, parser: Parser) -> AsyncIterator[CertifiedStage]:
    for seller in sellers:
        await seller.reset()
    async with CertifiedStage(next(numbers), sellers, town, parser, f"http://{town.host}/v1") as ready:
        yield ready


async def test_an_sdk_that_trusts_the_authority_is_served_and_nobody_learns_its_key(
    stage: CertifiedStage, town: Town
) -> None:
    mesh, authority = town.mesh, trustme.CA()
    mesh.name(VENDOR, ADDRESS)
    stage.certificate = issued(authority)
    specs = {"a": {"url": stage.sellers["a"].base_url.replace(ADDRESS, VENDOR)}}
    providers = [each.spec for each in stage.planned(stage.objects(["a"], specs, {}), {}).providers]
    assert [each.url.host for each in providers if isinstance(each, Provider)] == [VENDOR]
    gateway = MeshGateway(town.pod.namespace, tls_port=443, tls_names=stage.certificate.names)
    bodies = [each.body() for each in egress_objects(providers, [], gateway).objects]
    await mesh.apply(*bodies)
    try:
        await stage.serve("a", specs=specs)
        await town.app.envoy.knows(f"outbound|443||{VENDOR}")
        await town.pod.envoy.knows(f"outbound|{stage.sellers['a'].port}||{VENDOR}")
        trusted = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        turns = [say(LONG, "system"), say("By the vendor's own address")]
        decisions: list[tuple[str, bool]] = []
        async with client(stage, trusted) as sdk:
            for stream in (False, False, True):
                raw = await sdk.chat.completions.with_raw_response.create(
                    model=stage.model, messages=turns, stream=stream
                )
                decisions.append((raw.headers["x-limpet-decision"], raw.headers["x-limpet-provider"].startswith("a-")))
                parsed = raw.parse()
                if stream:
                    assert [chunk async for chunk in parsed]
                await stage.settle()
        assert decisions == [("first.scored", True), ("sticky.hit", True), ("sticky.hit", True)]
        for arrival in await stage.arrivals("a"):
            assert stage.key not in str(headers_of(arrival))
        async with client(stage, ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())) as other:
            with pytest.raises(openai.APIConnectionError):
                await other.models.list()
    finally:
        await mesh.delete(*bodies)


def client(stage: MeshStage, trusted: ssl.SSLContext) -> AsyncOpenAI:
    """The SDK as its users have it: only the authority is new."""
    inside = sdk_client(stage.town.app.pod, 60, trusted)
    return AsyncOpenAI(base_url=f"https://{VENDOR}/v1", api_key=stage.key, max_retries=0, http_client=inside)
