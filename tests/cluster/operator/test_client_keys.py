"""Keys of clients in a real API server's Secrets reach the workers as digests, and so does all that happens to them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator
from tests.waiting import until

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.client_keys import digest_of
from limpet_extproc.operator_link.catalog_client import watch
from limpet_lab.kubernetes.apiserver import ApiServer

OLD, NEW = "lpk-old-0123456789", "lpk-new-0123456789"


def clients(name: str, **entries: str) -> dict[str, Any]:
    """A Secret with keys of clients."""
    labelled = secret(name, **entries)
    labelled["metadata"]["labels"] = {"limpet.dev/client-keys": "true"}
    return labelled


class Worker:
    """A worker beside an Envoy, as far as it is told of clients."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, ...]] | None = None

    def take(self, catalog: Catalog) -> None:
        """Decide by this catalog from now on."""
        self.known = {key.name: key.digests for key in catalog.client_keys.keys}

    async def until_known(self, **clients: tuple[str, ...]) -> None:
        """Return as soon as these are all that it knows."""

        async def so() -> bool:
            return self.known == clients

        await until(so, f"the clients {sorted(clients)}")


@asynccontextmanager
async def beside(address: str) -> AsyncIterator[Worker]:
    """A worker beside an Envoy that has all clusters."""
    gateway, worker = Gateway(), Worker()
    async with gateway.connected(address):
        task = asyncio.create_task(watch(address, gateway.node, worker.take))
        try:
            yield worker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def digests(*keys: str) -> tuple[str, ...]:
    """As catalogs have them."""
    return tuple(digest_of(key).hex() for key in keys)


async def test_a_labelled_secret_gives_keys_rotates_and_goes(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    elsewhere = await asyncio.to_thread(apiserver.namespace)

    async def apply(*objects: Mapping[str, Any], to: str = namespace) -> None:
        (await asyncio.to_thread(apiserver.apply, *objects, namespace=to)).ok()

    async def kubectl(*arguments: str) -> None:
        (await asyncio.to_thread(apiserver.kubectl, *arguments, "-n", namespace)).ok()

    async def told_of(name: str) -> bool:
        """Each time with another mistake: while no replica holds the Lease, none writes Events."""
        await apply(clients(name, robot=OLD, bad="short" + "x" * next(numbers)))
        found = await asyncio.to_thread(apiserver.get, "events", "-n", namespace)
        return any(
            (each["involvedObject"]["kind"], each["involvedObject"]["name"], each["reason"])
            == ("Secret", name, "Invalid")
            for each in found["items"]
        )

    numbers = cycle(range(5))
    await apply(provider("p0"), secret("p0"), clients("clients", laptop=OLD))
    await apply(clients("foreign", stranger=OLD + "-of-another"), to=elsewhere)
    flags = ["--namespace", namespace, "--namespace", elsewhere]
    flags += ["--lease-namespace", namespace, "--lease-name", "limpet-operator", "--client-keys", "Required"]
    with Operator.running(apiserver, tmp_path / "op", *flags) as operator:
        await operator.ready()
        async with beside(operator.address) as worker:
            await worker.until_known(laptop=digests(OLD))
            await apply(clients("clients", laptop=f"{OLD} {NEW}"))
            await worker.until_known(laptop=digests(OLD, NEW))
            await apply(clients("clients", laptop=NEW))
            await worker.until_known(laptop=digests(NEW))
            await apply(clients("more", robot=OLD, bad="short"))
            await worker.until_known(laptop=digests(NEW), robot=digests(OLD))
            assert "bad: has a key of 5 characters" in await operator.until_logged("5 characters")
            await until(lambda: told_of("more"), "an Event of the Secret")
            await kubectl("label", "secret", "more", "limpet.dev/client-keys-")
            await worker.until_known(laptop=digests(NEW))
            await kubectl("delete", "secret", "clients")
            await worker.until_known()
    assert not any(key in str(entry) for entry in operator.log() for key in (OLD, NEW))
