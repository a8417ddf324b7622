"""The mesh of these tests is one: plain Envoys take istiod's configuration, and speak mTLS to each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from tests.cluster.pods import Pod
from tests.mesh.inside import http_session, socket_in
from tests.mesh.mesh import Mesh
from tests.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

PORT = 8080


def strict(namespace: str) -> dict[str, object]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {"mtls": {"mode": "STRICT"}},
    }


@asynccontextmanager
async def echo(pod: Pod) -> AsyncIterator[None]:
    """A program in the pod that answers with the request's headers."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({name.lower(): value for name, value in request.headers.items()})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listening = socket_in(pod)
    listening.bind(("0.0.0.0", PORT))
    await web.SockSite(runner, listening).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_who_has_an_identity_is_served_and_named_and_nobody_else(mesh: Mesh) -> None:
    ours, theirs = await mesh.namespace(), await mesh.namespace()
    async with (
        mesh.workload("echo", ours) as server,
        mesh.workload("shop", theirs) as client,
        mesh.workload("stranger", theirs, sidecar=False) as stranger,
        echo(server.pod),
        http_session(lambda _: client.pod, 30) as inside,
        http_session(lambda _: stranger.pod, 30) as outside,
    ):
        await mesh.apply(strict(ours))
        host = await mesh.service("echo", ours, {"name": "http", "port": 80, "targetPort": PORT}, to=[server])
        await client.envoy.knows(f"outbound|80||{host}")
        forged = {"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/admin/sa/admin"}

        async def told() -> dict[str, str]:
            async with inside.get(f"http://{host}/", headers=forged) as answer:
                return await answer.json() if answer.status == 200 else {}

        async def by_mtls() -> bool:
            return "x-forwarded-client-cert" in await told()

        await until(by_mtls, "mTLS")
        heard = (await told())["x-forwarded-client-cert"]
        assert f"URI=spiffe://cluster.local/ns/{theirs}/sa/shop" in heard
        assert f"By=spiffe://cluster.local/ns/{ours}/sa/echo" in heard
        assert "admin" not in heard
        with pytest.raises(aiohttp.ClientError):
            await outside.get(f"http://{server.pod.ip}:{PORT}/")
        for each in (server, client):
            assert await each.envoy.refused() == 0, each.envoy.program.log_tail()


async def test_a_sidecar_hears_from_an_istiod_that_was_restarted(mesh: Mesh) -> None:
    namespace = await mesh.namespace()
    async with mesh.workload("shop", namespace) as shop:
        await asyncio.to_thread(mesh.istiod.restart)
        spec = {
            "hosts": ["after-the-restart.example"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "DNS",
        }
        entry = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "late"}}
        await mesh.apply({**entry, "spec": spec}, namespace=namespace)
        await shop.envoy.knows("outbound|80||after-the-restart.example")
        async with mesh.workload("late", namespace) as late:
            assert late.identity is not None
            assert shop.identity is not None
            assert late.identity.root == shop.identity.root
            assert late.identity.spiffe_id == f"spiffe://cluster.local/ns/{namespace}/sa/late"
