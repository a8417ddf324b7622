"""The certificate for clients of `https://` in a Secret of a real API server: it comes, is renewed, breaks and goes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc.aio
import trustme
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator
from tests.waiting import until

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_operator.publish.envoy_settings import SERVING_SECRET, TLS_LISTENER
from limpet_operator.publish.resource import LISTENER, SECRET


class Envoy:
    """As far as it is told of TLS for clients."""

    def __init__(self) -> None:
        self.listeners: set[str] = set()
        self.chain = ""

    async def follow(self, address: str) -> None:
        """Take what comes, until cancelled."""
        async with grpc.aio.insecure_channel(address) as channel:
            call: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            for type_url, names in ((LISTENER, ()), (SECRET, (SERVING_SECRET,))):
                await call.write(
                    discovery_pb2.DeltaDiscoveryRequest(
                        node={"id": "gateway-0"}, type_url=type_url, resource_names_subscribe=names
                    )
                )
            async for response in call:
                for each in response.resources:
                    if response.type_url == SECRET:
                        found = secret_pb2.Secret.FromString(each.resource.value).tls_certificate
                        self.chain = found.certificate_chain.inline_string
                    else:
                        self.listeners.add(each.name)
                self.listeners -= set(response.removed_resources)
                await call.write(
                    discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                )

    async def until_shown(self, chain: str) -> None:
        """Return as soon as this is what clients are shown."""

        async def so() -> bool:
            return self.chain == chain and TLS_LISTENER in self.listeners

        await until(so, "the certificate")


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Envoy]:
    envoy = Envoy()
    task = asyncio.create_task(envoy.follow(address))
    try:
        yield envoy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def issued() -> tuple[str, str]:
    """A chain and its key."""
    found = trustme.CA().issue_cert("api.openai.com")
    return "".join(each.bytes().decode() for each in found.cert_chain_pems), found.private_key_pem.bytes().decode()


async def test_it_comes_is_renewed_breaks_and_goes_and_nothing_else_is_disturbed(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    (first, first_key), (second, second_key) = issued(), issued()

    async def apply(*objects: Mapping[str, Any]) -> None:
        (await asyncio.to_thread(apiserver.apply, *objects, namespace=namespace)).ok()

    async def pair(chain: str, key: str) -> None:
        await apply(secret("gateway-tls", **{"tls.crt": chain, "tls.key": key}))

    async def told_of() -> bool:
        """Each time with another mistake: while no replica holds the Lease, none writes Events."""
        await pair("nothing", next(keys))
        found = await asyncio.to_thread(apiserver.get, "events", "-n", namespace)
        return any(each["involvedObject"]["name"] == "gateway-tls" for each in found["items"])

    keys = cycle(["", "-----BEGIN PRIVATE KEY-----"])
    await apply(provider("p0"), secret("p0"))
    flags = ["--namespace", namespace, "--lease-namespace", namespace, "--lease-name", "limpet-operator"]
    with Operator.running(apiserver, tmp_path / "op", *flags, "--gateway-tls-secret", "gateway-tls") as operator:
        await operator.ready()
        await operator.answers("/readyz", 200, "Secret")
        assert "it is missing; create it with" in await operator.answers("/readyz", 200, "gateway-tls")
        async with connected(operator.address) as envoy:
            await until(lambda: _has(envoy.listeners, "limpet"), "the listener")
            assert TLS_LISTENER not in envoy.listeners
            await pair(first, second_key)
            await operator.answers("/readyz", 200, "tls.key is not the key of the first certificate")
            assert TLS_LISTENER not in envoy.listeners
            await pair(first, first_key)
            await envoy.until_shown(first)
            assert await operator.answers("/readyz", 200) == "ok\n"
            assert "limpet_certificate_expiry_timestamp_seconds" not in await operator.answers("/metrics", 200)
            await pair(second, second_key)
            await envoy.until_shown(second)
            await until(told_of, "an Event of the Secret")
            await operator.answers("/readyz", 200, "the certificate that was read before stays in force")
            (await asyncio.to_thread(apiserver.kubectl, "delete", "secret", "gateway-tls", "-n", namespace)).ok()
            await operator.answers("/readyz", 200, "it is missing")
            await envoy.until_shown(second)
            await pair(first, first_key)
            await envoy.until_shown(first)
    assert "PRIVATE KEY" not in str(operator.log())


async def _has(names: set[str], name: str) -> bool:
    return name in names
