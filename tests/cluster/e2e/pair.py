"""Two operators and two gateways at once: what can happen to them, and how tests see that no client noticed."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.container import Container
from tests.cluster.e2e.installation import MODEL, NAME, Installation, objects, provider
from tests.cluster.kubelet import Kubelet
from tests.cluster.load import PATIENCE_S, Load, Tally, Turn, User
from tests.cluster.podlife import RunningPod
from tests.cluster.services import Only, client_of

from limpet_lab.sim.sellers import Sellers

CONVERSATIONS: Final = 12
"""So that they all stay by chance once in some thousand runs without memory."""
_METRICS_PORT: Final = 9100
"""Of a gateway's workers, for Prometheus."""


@dataclass(frozen=True, slots=True)
class World:
    """The installation and who sells through it."""

    installation: Installation
    sellers: Sellers

    @property
    def kubelet(self) -> Kubelet:
        return self.installation.kubelet

    def gateways(self) -> list[RunningPod]:
        return self.kubelet.ready(component="gateway")

    def container(self, component: str, name: str) -> Container:
        return self.kubelet.pods(component=component)[0].containers[name]

    async def scale(self, component: str, replicas: int) -> None:
        await self.installation.kubectl("scale", f"deployment/{NAME}-{component}", f"--replicas={replicas}")
        await self.installation.settled(f"{replicas} replicas of {component}")

    async def restart(self, component: str) -> None:
        await self.installation.kubectl("rollout", "restart", f"deployment/{NAME}-{component}")
        await self.installation.settled(f"{component} rolled out")

    async def lose(self, pod: str) -> None:
        """What is seen of a machine that is gone; returns when none of its processes is left."""
        await self.installation.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
        await self.kubelet.until(lambda: pod not in {each.name for each in self.kubelet.pods()}, f"{pod} to be gone")

    async def holder(self) -> str:
        """Who holds the Lease and is alive."""
        found = ""

        async def held() -> bool:
            nonlocal found
            found = await self.installation.holder()
            return found in {pod.name for pod in self.kubelet.pods(component="operator")}

        await self.kubelet.until(held, "somebody to hold the Lease")
        return found


# A conversation's second turn, through another gateway and after something has happened.


def through(pod: RunningPod, name: str) -> User:
    return User(Only(pod.ip, 10000), "gateway", name)


async def turns_around(world: World, happens: Callable[[], Awaitable[None]]) -> list[tuple[Turn, Turn]]:
    """First turns through the first gateway, then what happens, then second turns through the last one."""
    first = [through(world.gateways()[0], f"{time.monotonic()}-{number}") for number in range(CONVERSATIONS)]
    talks = [user.conversation(MODEL) for user in first]
    gateway = world.gateways()[0]
    before = await heard(gateway)
    one = await asyncio.gather(*(talk.ask() for talk in talks))
    before.update(turn.decision for turn in one if turn.provider)
    await world.kubelet.until(lambda: remembered(world, gateway, before), "the first turns to be remembered")
    await happens()
    second = through(world.gateways()[-1], "second")
    two = await asyncio.gather(*(talk.ask(by=second, stream=True) for talk in talks))
    for user in (*first, second):
        await user.sdk.close()
    return list(zip(one, two, strict=True))


async def remembered(world: World, gateway: RunningPod, turns: Counter[str]) -> bool:
    """Whether a gateway has heard the outcome of so many turns, and the memory, where there is one, has it."""
    if await heard(gateway) < turns:
        return False
    unwritten = [value for name, _, value in await metrics(gateway) if name == "limpet_memory_unwritten"]
    return not (world.kubelet.ready(component="redis") and any(unwritten))


async def heard(gateway: RunningPod) -> Counter[str]:
    """How many requests at providers a gateway knows the outcome of, by how it decided them."""
    found: Counter[str] = Counter()
    for name, labels, value in await metrics(gateway):
        if name == "limpet_requests_total" and labels["provider"] != "none":
            found[labels["decision"]] += int(value)
    return found


async def metrics(gateway: RunningPod) -> list[tuple[str, Mapping[str, str], float]]:
    """What Prometheus would read of a gateway's workers: names, labels and values."""
    async with client_of(Only(gateway.ip, _METRICS_PORT), PATIENCE_S) as client:
        page = (await client.get("http://gateway/metrics")).raise_for_status().text
    families = text_string_to_metric_families(page)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def stayed(pairs: list[tuple[Turn, Turn]], *decisions: str) -> None:
    """The suite's one assertion: nothing lost, all at the same provider, and for one of these reasons."""
    lost = [turn.trouble for pair in pairs for turn in pair if turn.trouble]
    assert not lost, f"lost: {lost}"
    moved = [f"{one.provider} -> {two.provider}: {two.decision}" for one, two in pairs if one.provider != two.provider]
    assert not moved, f"moved: {moved}"
    others = {two.decision for _, two in pairs} - {*decisions}
    assert not others, f"decided otherwise: {others}"
    assert len({one.provider for one, _ in pairs}) > 1, "one provider for all says nothing"


async def nothing(world: World) -> None:
    assert len(world.gateways()) == 2


async def redis_is_killed(world: World) -> None:
    redis = world.container("redis", "redis")
    before = redis.restarts
    redis.send(signal.SIGKILL)
    await world.kubelet.until(lambda: redis.restarts > before and redis.ready, "Redis to be back")


async def one_more_gateway(world: World) -> None:
    await world.scale("gateway", 3)


async def new_gateways(world: World) -> None:
    await world.restart("gateway")


async def a_provider_is_away_for_a_while(world: World) -> None:
    ada, *others = world.sellers
    await world.installation.delete(provider(ada))
    await world.installation.programmed(*(seller.name for seller in others))
    await world.installation.apply(*objects(ada))
    await world.installation.programmed(*(seller.name for seller in world.sellers))


async def the_lease_moves(world: World) -> None:
    before = await world.holder()
    await world.lose(before)
    await world.kubelet.until(lambda: moved_from(world, before), "another holder")
    await world.installation.settled("two operators again")


async def moved_from(world: World, before: str) -> bool:
    return await world.holder() != before


async def no_operator_is_left(world: World) -> None:
    await world.scale("operator", 0)


async def a_worker_crashes(world: World) -> None:
    extproc = world.gateways()[-1].containers["ext-proc"]
    before = extproc.pids()
    os.kill(before[1], signal.SIGKILL)  # the first is their parent

    def replaced() -> bool:
        now = extproc.pids()
        return len(now) >= len(before) and before[1] not in now

    await world.kubelet.until(replaced, "another worker")
    # Until Envoy has left out the one and taken in the other, what it sends there is undecided, as documented.
    await world.kubelet.until(lambda: all_decide(world.gateways()[-1], len(before)), "every worker to decide")


async def all_decide(gateway: RunningPod, workers: int) -> bool:
    """Whether a worker decides each of some requests in a row, which Envoy sends to its workers in turn."""
    user = through(gateway, f"{time.monotonic()}")
    turns = [await user.conversation(MODEL).ask() for _ in range(3 * workers)]
    await user.sdk.close()
    return all(turn.decision not in ("", "fallback.undecided") for turn in turns)


async def back_to_normal(world: World) -> None:
    for component, replicas in (("operator", 2), ("redis", 1), ("gateway", 2)):
        await world.scale(component, replicas)


# Steady traffic through the Service, and what happens at the same time.


async def disturbed(world: World, happens: Callable[[], Awaitable[None]], *, tries: int = 1) -> Tally:
    """What became of traffic before, during and after; `tries` 3 is what the SDK does by default."""
    installation = world.installation
    async with Load.on(world.kubelet.services, installation.host, MODEL, users=10, tries=tries) as load:
        await load.more(15)
        await happens()
        await load.more(25)
    return load.tally
