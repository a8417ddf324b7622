"""The chart in mode sidecar: its operator tells the applications' sidecars of Providers as they come and go."""

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from tests.cluster.e2e.installation import MODEL, POLICY, VALUES, Installation, objects, seller_config
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, say
from tests.mesh.credentials import Sds
from tests.mesh.identity import token_for
from tests.mesh.injection import Injection
from tests.mesh.inside import sdk_client
from tests.mesh.mesh import Json, Mesh, Workload
from tests.mesh.test_chart import security
from tests.waiting import until

from limpet_lab.sim.sellers import Seller, Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

HOST: Final = "llm.chart.internal"
"""A host that exists nowhere but in the mesh."""
WORKERS_PORT: Final = 9443
CREDENTIALS_PORT: Final = 18001
_WITHOUT_SIDECAR: Final = "traffic.sidecar.istio.io/excludeInboundPorts"


def values(apps: str) -> Json:
    """What docs/mesh.md says to set."""
    return {
        **VALUES,
        "operator": {**VALUES["operator"], "podAnnotations": {_WITHOUT_SIDECAR: str(CREDENTIALS_PORT)}},
        "gateway": {**VALUES["gateway"], "workers": 1, "podAnnotations": {_WITHOUT_SIDECAR: str(WORKERS_PORT)}},
        "mesh": {
            "sidecars": {"namespaces": [apps]},
            "istio": {"enabled": True, "mode": "sidecar", "hosts": [HOST], "settleSeconds": 3},
        },
    }


@dataclass(frozen=True, slots=True)
class Aside:
    """A release, and an application whose sidecar asks its workers."""

    mesh: Mesh
    release: Installation
    shop: Workload

    def cluster(self, provider: str) -> str:
        """What the application's sidecar calls the cluster of a Provider."""
        return f"outbound|80||{provider}.{self.release.namespace}.providers.limpet.internal"

    def objects(self, seller: Seller) -> list[Json]:
        """Its Secret, Provider and Pricing, by a name that all of the mesh resolves."""
        host = self.mesh.name(f"{seller.name}.chart.example", ADDRESS)
        return objects(seller, url=seller.base_url.replace(ADDRESS, host))

    @asynccontextmanager
    async def serving(self, *names: str, later: str = "") -> AsyncIterator[Sellers]:
        """These Providers, and the seller of one that comes later, until the end of the block."""
        sold = [*names, *([later] if later else [])]
        async with Sellers.start([seller_config(name) for name in sold]) as sellers:
            await self.release.apply(POLICY, *(each for name in names for each in self.objects(sellers[name])))
            try:
                yield sellers
            finally:
                for kind in ("pricing", "provider", "secret"):
                    await self.release.kubectl("delete", kind, *sold, "--ignore-not-found", "--timeout=10s")

    async def sent(self, provider: str) -> int:
        """How many requests the application's own sidecar has sent to a Provider."""
        return await self.shop.envoy.requests(self.cluster(provider))

    async def meshed(self, *providers: str) -> None:
        """Return when these are, and the application's sidecar has the routes."""
        for name in providers:
            await self.release.kubelet.until(self.release.said(name, "Meshed", "Meshed"), f"{name} meshed")
            await self.shop.envoy.knows(f'"limpet.provider.{self.cluster(name)}"')

    async def written(self) -> dict[str, str]:
        """The versions of the EnvoyFilters in the application's namespace."""
        listed = await asyncio.to_thread(
            self.mesh.server.get, "--namespace", self.shop.namespace, "envoyfilters.networking.istio.io"
        )
        return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in listed["items"]}

    @asynccontextmanager
    async def asking(self) -> AsyncIterator["Asking"]:
        """The application."""
        async with AsyncOpenAI(
            base_url=f"http://{HOST}/v1", api_key="shop", max_retries=0, http_client=sdk_client(self.shop.pod, 60)
        ) as sdk:
            yield Asking(sdk)


@dataclass(slots=True)
class Asking:
    """An application of OpenAI's SDK, and what became of its requests."""

    sdk: AsyncOpenAI
    answered: int = 0
    errors: list[Exception] = field(default_factory=list)

    async def turn(self, conversation: str, *further: str) -> tuple[str, int, str]:
        """How its provider was chosen, how many tokens came from the cache, and who answered.

        Conversations have no beginning in common.
        """
        turns: Any = [say(f"{conversation}. {LONG}", "system"), *(say(text) for text in ("Hello", *further))]
        raw = await self.sdk.chat.completions.with_raw_response.create(model=MODEL, messages=turns)
        usage: Any = raw.parse().usage
        self.answered += 1
        return raw.headers["x-limpet-decision"], usage.prompt_cache_hit_tokens, raw.headers["x-limpet-provider"]

    @asynccontextmanager
    async def without_a_pause(self) -> AsyncIterator[None]:
        """New conversations and further turns of them, until the end of the block."""
        ending, numbers = asyncio.Event(), itertools.count()

        async def one(number: int) -> None:
            try:
                await self.turn(f"Conversation {number // 2}")
            except Exception as error:
                self.errors.append(error)

        async def go_on() -> None:
            async with asyncio.TaskGroup() as group:
                while not ending.is_set():
                    group.create_task(one(next(numbers)))
                    await asyncio.sleep(0.1)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            ending.set()
            await task


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def aside(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aside]:
    """Limpet by its chart, ready."""
    namespace, apps = await mesh.namespace("limpet"), await mesh.namespace("apps")
    await mesh.apply(*security(namespace, apps))
    mesh.name(HOST)
    injection, directory = Injection(mesh, namespace), tmp_path_factory.mktemp("pods")
    async with AsyncExitStack() as running:
        enter = running.enter_async_context
        # A real sidecar's own connections are known by its user; those of gRPC's client have no mark here.
        shop = await enter(mesh.workload("shop", apps, not_to=[CREDENTIALS_PORT]))
        assert shop.identity is not None
        root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio-ca-root-cert"}}
        await mesh.apply({**root, "data": {"root-cert.pem": shop.identity.root}}, namespace=namespace)
        kubelet = await enter(Kubelet.start(mesh.server, namespace, directory, mesh.network, local_images(), injection))
        await enter(injection.following(kubelet))
        release = Installation(mesh.server, kubelet, namespace)
        await release.install(values(apps))
        yield Aside(mesh, release, shop)
        assert await shop.envoy.refused() == 0, shop.envoy.program.log_tail()


async def test_a_second_turn_is_served_from_the_cache_by_the_applications_own_sidecar(aside: Aside) -> None:
    async with aside.serving("ada", "bee"), aside.asking() as app:
        await aside.meshed("ada", "bee")

        async def sent() -> int:
            return await aside.sent("ada") + await aside.sent("bee")

        async def by_itself() -> bool:
            before = await sent()
            await app.turn("Anybody there?")
            return await sent() > before

        await until(by_itself, "an answer by the application's own sidecar")
        before, later = await sent(), list[tuple[str, int, str]]()
        decision, cached, provider = await app.turn("A cold turn")
        assert (decision, cached) == ("first.scored", 0)

        async def warm() -> bool:
            later.append(await app.turn("A cold turn", "And then?"))
            return later[-1][0] == "sticky.hit"

        await until(warm, "a worker that has heard of the first turn")
        assert later[-1][1] > 0
        assert later[-1][2] == provider
        assert await sent() == before + 1 + len(later), "none went through the gateway"
        versions = await aside.written()
        await asyncio.sleep(3)
        assert await aside.written() == versions


async def test_providers_come_and_go_and_no_request_is_lost(aside: Aside) -> None:
    async with aside.serving("dan", "eve", later="fay") as sellers, aside.asking() as app:
        await aside.meshed("dan", "eve")

        async def served_by(*providers: str) -> None:
            before = {name: await aside.sent(name) for name in providers}

            async def all_have_got_some() -> bool:
                return all([await aside.sent(name) > before[name] for name in providers])

            await until(all_have_got_some, f"requests by the sidecar itself to {providers}")

        async with app.without_a_pause():
            await served_by("dan", "eve")
            await aside.release.apply(*aside.objects(sellers["fay"]))
            await aside.meshed("fay")
            await served_by("dan", "eve", "fay")
            await aside.release.delete(*aside.objects(sellers["dan"]))
            await aside.shop.envoy.forgets(f'"{aside.cluster("dan")}"')
            await served_by("eve", "fay")
        assert app.errors == []
        assert app.answered > 50

    async def nothing_is_left() -> bool:
        return set(await aside.written()) == {"limpet-gateway-workers", "limpet-gateway-program-80"}

    await until(nothing_is_left, "the end of what was written for them, but for the host that is made up")


async def test_credentials_are_given_to_accounts_of_the_named_namespace_alone(aside: Aside) -> None:
    release, mesh = aside.release, aside.mesh
    async with aside.serving("gus"):
        await release.programmed("gus")
        elsewhere = await mesh.namespace("elsewhere")
        async with mesh.workload("shop", elsewhere, sidecar=False):
            token = await asyncio.to_thread(token_for, mesh.server, elsewhere, "shop")
        own = await asyncio.to_thread(token_for, mesh.server, aside.shop.namespace, "shop")
        held = await asyncio.to_thread(
            mesh.server.get, "--namespace", release.namespace, "secret", "limpet-controlplane-client"
        )
        (pod, *_) = release.kubelet.ready(component="operator")
        sds = Sds(
            f"{pod.ip}:{CREDENTIALS_PORT}",
            base64.b64decode(held["data"]["ca.crt"]),
            f"limpet-operator.{release.namespace}.svc",
        )
        assert any("gus" in name for name in await sds.secrets(own))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await sds.secrets(token)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
