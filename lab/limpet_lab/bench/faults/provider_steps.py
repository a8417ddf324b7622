"""What is done to providers."""

import asyncio

from limpet_lab.bench.faults.objects import SELLERS
from limpet_lab.bench.faults.scene import FaultStep, Scene
from limpet_lab.sim.faults import NO_FAULT, Fault


def answers(fault: Fault) -> FaultStep:
    """The victim meets its requests so."""

    async def step(scene: Scene) -> None:
        await scene.seller.set_fault(fault)

    return step


async def answers_again(scene: Scene) -> None:
    """It answers as it did before."""
    await scene.seller.set_fault(NO_FAULT)


async def stops(scene: Scene) -> None:
    """It finishes what it has begun, closes all connections and refuses new ones."""
    await asyncio.to_thread(scene.seller.stop)


async def returns(scene: Scene) -> None:
    """It is started again, its cache empty."""
    await scene.seller.restart()


async def certificate_expires(scene: Scene) -> None:
    """It is started again with a certificate that is a day too old."""
    await stops(scene)
    await scene.seller.restart(scene.bed.authority.issue("127.0.0.1", expired=True))


async def certificate_renewed(scene: Scene) -> None:
    """It is started again with a good one."""
    await stops(scene)
    await scene.seller.restart(scene.bed.authority.issue("127.0.0.1"))


async def name_is_gone(scene: Scene) -> None:
    """The name server no longer knows its host."""
    scene.bed.names.known = False


async def name_is_back(scene: Scene) -> None:
    """The name server knows it again."""
    scene.bed.names.known = True


async def all_stop(scene: Scene) -> None:
    """So do all providers."""
    await asyncio.gather(*(asyncio.to_thread(scene.bed.sellers[name].stop) for name in SELLERS))


async def others_return(scene: Scene) -> None:
    """All but the victim are started again."""
    await asyncio.gather(*(scene.bed.sellers[name].restart() for name in SELLERS if name != scene.victim))
