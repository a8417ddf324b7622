"""From `helm install` to `helm uninstall` under load: nothing that a team does to its installation loses a request."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.cluster.e2e.installation import HEALTH, MODEL, NAME, POLICY, VALUES, Installation, objects, provider, secret
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.load import Load, User
from tests.cluster.pods import Network
from tests.cluster.world import ADDRESS

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.assets import Assets
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Seller, Sellers

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = ("Provider", "Pricing", "HealthProbe", "StickyPolicy")
RELEASED = (
    "deployments,services,serviceaccounts,configmaps,secrets,pods,leases,roles,rolebindings,"
    "networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(assets: Assets, network: Network, directory: Path) -> AsyncIterator[Installation]:
    """A cluster that has never heard of Limpet."""
    (directory / "apiserver").mkdir()
    (directory / "pods").mkdir()
    with ApiServer.running(assets, directory / "apiserver", advertise=ADDRESS) as server:
        namespace = server.namespace("shop")
        async with Kubelet.start(server, namespace, directory / "pods", network, local_images()) as kubelet:
            yield Installation(server, kubelet, namespace)


async def keys_at(seller: Seller) -> set[str]:
    return {
        value for each in await seller.requests() for name, value in each.headers if name.lower() == "authorization"
    }


async def cache_is_shown(installation: Installation, name: str) -> bool:
    head, row = (await installation.kubectl("get", "provider", name)).splitlines()
    # By the places of the columns, for a figure that is missing is a blank.
    hit, warm = (row[head.index(column) :].split(" ", 1)[0] for column in ("HIT%", "WARM"))
    return hit.isdigit() and 0 < int(hit) <= 100 and warm.isdigit() and int(warm) > 0


async def test_the_life_of_an_installation(installation: Installation, sellers: Sellers) -> None:
    ada, bee, cod = (sellers[name] for name in ("ada", "bee", "cod"))
    await installation.install(VALUES)
    await installation.apply(*objects(ada), *objects(bee), HEALTH, POLICY)
    await installation.programmed("ada", "bee")
    services, host = installation.kubelet.services, installation.host

    async with Load.on(services, host, MODEL) as load:
        await load.more(60)
        assert set(load.tally.providers()) == {installation.provider("ada"), installation.provider("bee")}
        assert {turn.decision for turn in load.tally.later()} == {"sticky.hit"}, str(load.tally)

        listed = await installation.kubectl("get", "providers")
        head, *rows = listed.splitlines()
        assert {row.split()[head.split().index("READY")] for row in rows} == {"True"}, listed

        await installation.apply(*objects(cod))
        await installation.programmed("ada", "bee", "cod")

        async def cod_sells() -> bool:
            return installation.provider("cod") in load.tally.providers()

        await installation.kubelet.until(cod_sells, "a conversation at the new provider")

        typo = objects(cod, named="typo", url="http://no-such-vendor.invalid/v1")
        await installation.apply(*typo)
        await installation.kubelet.until(
            installation.said("typo", "Healthy", "NameNotResolved"), "Healthy=False for a URL that resolves nowhere"
        )
        await installation.delete(*typo)
        await installation.programmed("ada", "bee", "cod")

        await installation.apply(secret("ada", ada.config.api_keys[1]))

        async def new_key() -> bool:
            await ada.reset(ledger=False, cache=False, fault=False)
            await load.more(20)
            return await keys_at(ada) == {f"Bearer {ada.config.api_keys[1]}"}

        await installation.kubelet.until(new_key, "the new key at ada")

        await installation.apply(provider(bee, drain=True))
        await load.more(40)
        assert not load.tally.moved(), str(load.tally)

        await installation.delete(*objects(bee))
        await installation.programmed("ada", "cod")
        await load.more(40)
        moved = load.tally.moved()
        assert {before.provider for before, _ in moved} <= {installation.provider("bee")}, str(load.tally)
        assert {after.decision for _, after in moved} <= {"sticky.left.not_candidate"}, str(load.tally)

        await installation.kubelet.until(lambda: cache_is_shown(installation, "ada"), "HIT% and WARM of ada")

        before = {pod.name for pod in installation.kubelet.pods()}
        changed = {
            **VALUES,
            "gateway": {**VALUES["gateway"], "replicas": 3, "workers": 1},
            "podAnnotations": {"example.com/release": "2"},
        }
        await installation.upgrade(changed)
        assert before.isdisjoint({pod.name for pod in installation.kubelet.pods()})
        assert len(installation.kubelet.ready(component="gateway")) == 3
        await load.more(40)

        await installation.rollback()
        assert len(installation.kubelet.ready(component="gateway")) == 2
        await load.more(40)
    assert not load.tally.lost, str(load.tally)
    assert load.tally.moved() == moved, str(load.tally)

    await leave(installation, sellers)


async def leave(installation: Installation, sellers: Sellers) -> None:
    """Uninstall in the middle of answers, which all arrive; then only what users made is left, and can be deleted."""
    for seller in sellers:
        await seller.reset(ledger=False, cache=False)
        await seller.set_fault(Fault(kind="slow_drip", delay_s=0.7))
    users = [User(installation.kubelet.services, installation.host, f"last-{number}") for number in range(8)]
    asking = [asyncio.create_task(user.conversation(MODEL).ask(stream=True)) for user in users]

    async def all_arrived() -> bool:
        return sum([len(await seller.requests()) for seller in sellers]) >= len(users)

    await installation.kubelet.until(all_arrived, "the last requests at their providers")
    assert not any(task.done() for task in asking)
    await installation.uninstall()
    turns = await asyncio.gather(*asking)
    assert [turn.trouble for turn in turns] == [""] * len(turns), installation.kubelet.trouble
    for user in users:
        await user.sdk.close()

    left = await installation.kubectl("get", RELEASED, "--output", "name")
    assert {line for line in left.splitlines() if NAME in line} == set(), left
    for kind in ("clusterroles", "clusterrolebindings"):
        assert NAME not in await installation.kubectl("get", kind, "--output", "name")
    assert await installation.kubectl("get", "providers", "--output", "name") == (
        "provider.limpet.dev/ada\nprovider.limpet.dev/cod\n"
    )
    for kind in OWN:
        await installation.kubectl("delete", kind, "--all", "--timeout=10s")
    await installation.kubectl("delete", "crds", "--all", "--timeout=20s")
