"""A store that is away is waited for, and what is old goes even where the store cannot say how it is."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry
from tests.waiting import until

from limpet_activity.intake.metrics import IntakeMetrics
from limpet_activity.intake.store_health import StoreHealth
from limpet_activity.process.housekeeping import Housekeeping
from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import StoreError, StoreState
from limpet_activity.store.retention import KeepLimits


class Troubled(InMemoryStore):
    """Cannot be prepared twice, nor ever say how it is."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = 0
        self.tidied: list[KeepLimits] = []

    def prepare(self) -> None:
        self.prepared += 1
        if self.prepared < 3:
            raise StoreError("the database is away")

    def tidy(self, limits: KeepLimits, now_s: float) -> bool:
        self.tidied.append(limits)
        return len(self.tidied) < 2

    def state(self) -> StoreState:
        raise StoreError("it does not say")


async def test_a_store_in_trouble_is_looked_after() -> None:
    store, limits, seen = Troubled(), KeepLimits(days=3), []
    metrics = IntakeMetrics(CollectorRegistry())
    health = StoreHealth(metrics)

    async def sleep(_: float) -> None:
        seen.append(health.trouble)
        await asyncio.sleep(0)

    with ThreadPoolExecutor(1) as writer:
        keeping = Housekeeping(store, store, limits, health, metrics, lambda: 1e9, writer, sleep)
        await keeping.prepare()
        assert (store.prepared, seen, health.trouble) == (3, ["the database is away"] * 2, "")
        running = asyncio.create_task(keeping.run())
        await until(lambda: len(store.tidied) == 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert store.tidied == [limits] * 2
    assert health.trouble == "it does not say"
