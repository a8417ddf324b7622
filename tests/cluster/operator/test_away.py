"""The API server goes away, forgets, loses kinds: Envoy keeps what it has, and everything is caught up with."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator

from limpet_lab.kubernetes.apiserver import ApiServer

CRDS = Path(__file__).parents[3] / "crds"

Private = Callable[[], AbstractContextManager[ApiServer]]


async def apply(server: ApiServer, *objects: Mapping[str, Any]) -> None:
    (await asyncio.to_thread(server.apply, *objects)).ok()


async def delete(server: ApiServer, *what: str) -> None:
    (await asyncio.to_thread(server.kubectl, "delete", *what)).ok()


async def test_what_was_deleted_while_nobody_could_look_is_gone_afterwards(
    private_apiserver: Private, tmp_path: Path
) -> None:
    with private_apiserver() as server:
        server.install_crds()
        names = [f"p{number}" for number in range(3)]
        await apply(server, *map(provider, names), *map(secret, names))
        with Operator.running(server, tmp_path / "op", "--all-namespaces") as operator:
            await operator.ready()
            async with Gateway().connected(operator.address) as gateway:
                await gateway.until(lambda g: g.providers == {"p0", "p1", "p2"} and len(g.keys) == 3)

                # kill -9: the watches break off; what follows happens before they are back, and history is forgotten.
                await asyncio.to_thread(server.kill)
                await operator.until_logged("does not answer")
                assert gateway.providers == {"p0", "p1", "p2"}
                await operator.answers("/readyz", 200)
                operator.program.freeze()
                await asyncio.to_thread(server.start)
                await delete(server, "provider", "p1")
                await delete(server, "secret", "p2")
                await apply(server, provider("p3"), secret("p3"), secret("p0", key="sk-turned"))
                await asyncio.to_thread(server.expire_watch_history)
                operator.program.thaw()

                await gateway.until(lambda g: g.providers == {"p0", "p3"} and len(g.keys) == 2)
                assert gateway.keys["limpet/credential/p0"] == "Bearer sk-turned"
                await operator.until_logged("answers again")
                await operator.answers("/healthz", 200)
                # And the watches live: the next change needs no further look.
                await apply(server, secret("p2"))
                await gateway.until(lambda g: g.providers == {"p0", "p2", "p3"})


async def test_etcd_restarts_beneath_the_api_server(private_apiserver: Private, tmp_path: Path) -> None:
    with private_apiserver() as server:
        server.install_crds()
        await apply(server, provider("p0"), secret("p0"))
        with Operator.running(server, tmp_path / "op", "--namespace", "default") as operator:
            await operator.ready()
            async with Gateway().connected(operator.address) as gateway:
                await gateway.until(lambda g: g.providers == {"p0"})
                await asyncio.to_thread(server.restart_etcd)
                await apply(server, provider("p1"), secret("p1"))
                await gateway.until(lambda g: g.providers == {"p0", "p1"})
        assert not [entry for entry in operator.log() if entry["level"] == "error"]


async def test_kinds_that_come_late_are_waited_for(private_apiserver: Private, tmp_path: Path) -> None:
    with private_apiserver() as server, Operator.running(server, tmp_path / "op", "--all-namespaces") as operator:
        line = await operator.until_logged("are not installed")
        assert "healthprobes.limpet.dev, pricings.limpet.dev, providers.limpet.dev, stickypolicies.limpet.dev" in line
        assert "run: kubectl apply --server-side" in line
        await operator.answers("/readyz", 503, "are not installed")
        await operator.answers("/healthz", 200)
        await asyncio.to_thread(server.install_crds)
        await apply(server, provider("p0"), secret("p0"))
        await operator.ready()
        # Once for each state: they come one after the other.
        assert len(operator.logged("are not installed")) == len(set(operator.logged("are not installed")))
        async with Gateway().connected(operator.address) as gateway:
            await gateway.until(lambda g: g.providers == {"p0"})

            # A kind that is taken away takes its objects along; when it comes back, all goes on.
            await delete(server, "crd", "providers.limpet.dev")
            await gateway.until(lambda g: not g.providers)
            await operator.until_logged("are not installed: providers.limpet.dev;")
            await asyncio.to_thread(server.install_crds)
            await apply(server, provider("p1"), secret("p1"))
            await gateway.until(lambda g: g.providers == {"p1"})


async def test_kinds_of_an_older_version_are_named_with_what_they_lack(
    private_apiserver: Private, tmp_path: Path
) -> None:
    with private_apiserver() as server:
        server.install_crds()
        path = "spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/drain"
        older = f'[{{"op": "remove", "path": "/{path}"}}]'
        server.kubectl("patch", "crd", "providers.limpet.dev", "--type=json", "--patch", older).ok()
        with Operator.running(server, tmp_path / "op", "--all-namespaces") as operator:
            answer = await operator.answers("/readyz", 503, "older version")
            assert "providers.limpet.dev (spec.drain); run: kubectl apply --server-side" in answer
            server.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(CRDS)).ok()
            await operator.ready()
