"""The chart in a mesh that hears nobody without mTLS: operator, gateways and Redis, each behind a sidecar."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from openai import AsyncOpenAI
from tests.cluster.e2e.installation import MODEL, POLICY, VALUES, Installation, objects, seller_config
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.envoy.cast import LONG, say
from tests.mesh.injection import Injection
from tests.mesh.inside import sdk_client
from tests.mesh.mesh import Json, Mesh
from tests.waiting import until

from limpet_lab.kubernetes.istiod import TRUST_DOMAIN
from limpet_lab.sim.sellers import Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

_SECURITY = Path(__file__).parents[2] / "examples/istio/security.yaml"


def security(namespace: str, apps: str) -> list[Json]:
    """The example's objects for these namespaces: mTLS everywhere, and who may call what."""
    text = _SECURITY.read_text()
    for before, after in (
        ("namespace: limpet}", f"namespace: {namespace}}}"),
        ("namespaces: [limpet]", f"namespaces: [{namespace}]"),
        ("namespaces: [apps]", f"namespaces: [{apps}]"),
        ("*.limpet.svc", f"*.{namespace}.svc"),
    ):
        assert before in text, before
        text = text.replace(before, after)
    return [*yaml.safe_load_all(text)]


@dataclass(frozen=True, slots=True)
class InMesh:
    """A release whose pods have sidecars."""

    release: Installation
    injection: Injection
    apps: str
    """The namespace whose pods may call it."""

    async def served(self) -> list[int]:
        """How many requests each gateway has got by its sidecar."""
        pods = self.release.kubelet.ready(component="gateway")
        return [await self.injection.sidecars[pod.name].requests("inbound|10000||") for pod in pods]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InMesh]:
    """Limpet by its chart, ready."""
    namespace, apps = await mesh.namespace("limpet"), await mesh.namespace("apps")
    await mesh.apply(*security(namespace, apps))
    injection, directory = Injection(mesh, namespace), tmp_path_factory.mktemp("pods")
    async with (
        Kubelet.start(mesh.server, namespace, directory, mesh.network, local_images(), injection) as kubelet,
        injection.following(kubelet),
    ):
        release = Installation(mesh.server, kubelet, namespace)
        await release.install({**VALUES, "gateway": {**VALUES["gateway"], "workers": 1}})
        yield InMesh(release, injection, apps)


async def test_it_serves_and_its_gateways_remember_together(installed: InMesh, mesh: Mesh) -> None:
    release = installed.release
    async with (
        Sellers.start([seller_config(name) for name in ("ada", "bee")]) as sellers,
        mesh.workload("shop", installed.apps) as shop,
        AsyncOpenAI(
            base_url=f"http://{release.host}.svc.{TRUST_DOMAIN}/v1",
            api_key="shop",
            max_retries=0,
            http_client=sdk_client(shop.pod, 60),
        ) as sdk,
    ):
        await release.apply(*objects(sellers["ada"]), *objects(sellers["bee"]), POLICY)
        await release.programmed("ada", "bee")
        await shop.envoy.knows(f"outbound|80||{release.host}")
        turns = [say(LONG, "system"), say("In a mesh")]

        async def turn() -> tuple[str, int]:
            raw = await sdk.chat.completions.with_raw_response.create(model=MODEL, messages=turns)
            return raw.headers["x-limpet-decision"], raw.parse().usage.prompt_cache_hit_tokens

        assert await turn() == ("first.scored", 0)
        before, later = await installed.served(), []

        async def by_both() -> bool:
            later.append(await turn())
            return all(now - then > 2 for now, then in zip(await installed.served(), before, strict=True))

        await until(by_both, "requests at both gateways")
        assert len(before) == 2
        assert {decision for decision, _ in later[2:]} == {"sticky.hit"}
        assert all(cached > 0 for _, cached in later[2:])

        await release.delete(*objects(sellers["ada"]))
        await release.programmed("bee")
        assert (await turn())[0] in ("sticky.hit", "sticky.left.not_candidate")
