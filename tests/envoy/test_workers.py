"""Several ext_proc workers behind one Envoy: one dies, one freezes, all are restarted, and no client notices."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from tests.envoy.conftest import set_stage
from tests.envoy.group import Load, all_decide, gateway_of_two, shared_memory, turn, workers_of
from tests.envoy.stage import Stage
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_lab.sim.faults import NO_FAULT, Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def group(numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage behind two workers that have all decided already."""
    with servers(RedisServer(tmp_path)) as (redis,):
        async with (
            gateway_of_two(shared_memory(redis.url, tmp_path)) as running,
            set_stage(next(numbers), sellers, running, parser) as stage,
        ):
            await stage.serve("a", "b", "c")
            await all_decide(stage)
            yield stage


def _nobody_noticed(load: Load) -> None:
    assert not load.errors
    homes = load.homes()
    assert all(len(sellers) == 1 for sellers in homes.values()), f"a conversation moved: {homes}"
    assert len(set.union(*homes.values())) > 1, "conversations that are all in one place show nothing"


async def test_a_killed_worker_is_started_again_and_the_other_decides_meanwhile(group: Stage) -> None:
    load = Load(group)
    loading = asyncio.create_task(load.run(8))
    await asyncio.sleep(2)
    victim, other = workers_of(group)
    victim.kill()
    await loading
    _nobody_noticed(load)
    assert load.undecided() <= 5, "Envoy went on asking the dead one"
    assert await group.metric("limpet_worker_restarts_total") == 1
    assert other in workers_of(group)
    await all_decide(group)


async def test_a_frozen_worker_is_passed_over_and_replaced(group: Stage) -> None:
    load = Load(group)
    loading = asyncio.create_task(load.run(10))
    await asyncio.sleep(2)
    victim, other = workers_of(group)
    victim.send_signal(signal.SIGSTOP)
    frozen_s = time.monotonic()
    await loading
    _nobody_noticed(load)
    assert load.undecided(frozen_s) > 0, "a frozen worker that costs nothing was not asked"
    assert load.undecided(frozen_s + 5) == 0, "Envoy went on asking the frozen one"

    async def replaced() -> bool:
        return await group.metric("limpet_worker_restarts_total") == 1

    await until(replaced, "another worker in its place")
    assert not victim.is_running()
    assert other in workers_of(group)
    await all_decide(group)


async def test_a_restart_of_all_workers_loses_nothing(group: Stage) -> None:
    load = Load(group)
    loading = asyncio.create_task(load.run(6))
    await asyncio.sleep(2)
    children = group.gateway.children
    os.kill(children.pid("ext_proc"), signal.SIGTERM)
    assert await children.wait("ext_proc") == 0
    await group.gateway.start_extproc()
    await all_decide(group)
    await loading
    _nobody_noticed(load)
    assert load.undecided() > 0, "while there is no worker nobody can decide"
    after = Load(group)
    await after.run(2)
    _nobody_noticed(after)
    decisions = {answer.decision for _, _, answer in after.answers}
    assert decisions == {"sticky.hit"}, "the new workers did not know the conversations"
    assert after.homes() == load.homes()


async def test_probes_say_what_is_missing(group: Stage) -> None:
    origin = group._metrics_url.removesuffix("/metrics")

    async def page(path: str) -> tuple[int, str]:
        async with group.http.get(origin + path) as response:
            return response.status, await response.text()

    assert await page("/livez") == (200, "every socket takes connections\n")
    assert await page("/readyz") == (200, "every worker decides\n")
    await group.gateway.control_plane.stop()
    assert (await page("/readyz"))[0] == 200, "the last catalog goes on deciding without the operator"
    workers_of(group)[0].kill()

    async def waits_for_a_catalog() -> bool:
        status, words = await page("/readyz")
        return status == 503 and "no catalog from the operator yet: the socket does not exist" in words

    await until(waits_for_a_catalog, "the new worker to say that it has no catalog")
    assert (await page("/livez"))[0] == 200


async def test_every_worker_knows_that_a_provider_fails_and_when_it_is_back(group: Stage) -> None:
    """Envoy's logs reach one worker each; what they show of a provider must reach all."""
    await group.sellers["a"].set_fault(Fault(kind="status", status=503))

    new = count(1)

    async def all_say(out: float) -> bool:
        for _ in range(20):
            await turn(group, next(new))
        each = [await group.metric("limpet_provider_out", provider=group.provider("a"), worker=w) for w in ("0", "1")]
        return each == [out, out]

    await until(lambda: all_say(1.0), "both workers to take it out")
    before = len(await group.arrivals("a"))
    for _ in range(50):
        assert (await turn(group, next(new))).seller != "a"
    assert len(await group.arrivals("a")) <= before + 2, "besides a trial nobody should have been sent there"

    await group.sellers["a"].set_fault(NO_FAULT)
    await until(lambda: all_say(0.0), "both workers to take it in again")
