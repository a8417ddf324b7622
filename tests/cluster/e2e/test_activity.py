"""A platform team sees what its requests did and cost: the chart's activity service, its page, and `helm test`."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.cluster.e2e.installation import CHART, MODEL, NAME, POLICY, VALUES, Installation, objects
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.pods import Network
from tests.cluster.services import client_of
from tests.cluster.world import ADDRESS

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.assets import Assets
from limpet_lab.sim.sellers import Sellers

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    assets: Assets, network: Network, directory: Path, sellers: Sellers
) -> AsyncIterator[Installation]:
    """Limpet as the chart installs it by default, with one provider."""
    (directory / "apiserver").mkdir()
    (directory / "pods").mkdir()
    with ApiServer.running(assets, directory / "apiserver", advertise=ADDRESS) as server:
        namespace = server.namespace("seen")
        async with Kubelet.start(server, namespace, directory / "pods", network, local_images()) as kubelet:
            installed = Installation(server, kubelet, namespace)
            await installed.install({**VALUES, "gateway": {**VALUES["gateway"], "replicas": 1}})
            await installed.apply(*objects(sellers["ada"]), POLICY)
            await installed.programmed("ada")
            yield installed


async def helm_test(installation: Installation) -> tuple[int, str]:
    """Its command, on a machine that reaches the gateway's pod."""
    (gateway,) = installation.kubelet.ready(component="gateway")
    arguments = (str(CHART / "files/conversation.py"), f"http://{gateway.ip}:10000", MODEL)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    shown, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, shown.decode()


async def asked(installation: Installation, path: str, token: str) -> tuple[int, Any]:
    """What the page's Service answers."""
    async with client_of(installation.kubelet.services, 30) as client:
        address = f"http://{NAME}-page.{installation.namespace}"
        answer = await client.get(f"{address}{path}", headers={"authorization": f"Bearer {token}"})
    return answer.status_code, answer.json()


async def token_of(installation: Installation) -> str:
    encoded = await installation.kubectl("get", "secret", f"{NAME}-page", "-o", "jsonpath={.data.token}")
    return base64.b64decode(encoded).decode()


async def test_a_conversation_is_on_the_page_with_what_it_read_and_cost(installation: Installation) -> None:
    code, shown = await helm_test(installation)
    assert code == 0, shown
    assert f"Turn 2: {installation.provider('ada')}, sticky." in shown
    token = await token_of(installation)
    records: list[Any] = []

    async def are_there() -> bool:
        _, found = await asked(installation, f"/api/activity?model={MODEL}", token)
        records[:] = found["records"]
        return len(records) >= 2

    await installation.kubelet.until(are_there, "both turns on the page")
    second, first = records
    assert (first["provider"], second["provider"]) == (installation.provider("ada"),) * 2
    # Pending where the second came before the outcome of the first was known.
    assert (second["reason"], second["cause"]) == ("sticky.hit", "hit") or second["reason"] == "sticky.pending"
    assert second["cached_tokens"] > 4000
    assert 0 < second["paid_usd"] < second["uncached_usd"]
    assert first["conversation"] == second["conversation"]

    async def reported() -> bool:
        _, found = await asked(installation, "/api/providers", token)
        return [each["report"]["provider"] for each in found["seen"]] == [installation.provider("ada")]

    await installation.kubelet.until(reported, "the provider on the page")


async def test_nobody_sees_it_without_the_token(installation: Installation) -> None:
    assert (await asked(installation, "/api/activity", "a-guess"))[0] == 401


async def test_records_wait_while_the_service_is_away(installation: Installation) -> None:
    token = await token_of(installation)
    (pod,) = installation.kubelet.ready(component="activity")
    await installation.kubectl("delete", "pod", pod.name, "--wait=false")
    code, shown = await helm_test(installation)
    assert code == 0, shown
    await installation.settled("another pod for records")

    async def are_there() -> bool:
        _, found = await asked(installation, f"/api/activity?model={MODEL}", token)
        return len(found["records"]) >= 2

    await installation.kubelet.until(are_there, "what was done meanwhile on the page")
