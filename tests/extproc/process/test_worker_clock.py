"""All of a worker goes by the one clock that it is given."""

from pathlib import Path

import pytest
from tests.extproc.conftest import Make
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.process.worker import Worker
from limpet_extproc.providers.events import AttemptFailed
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_000.0)


@pytest.fixture
async def worker(make: Make, clock: HandClock, tmp_path: Path) -> Worker:
    worker = Worker(
        WorkerSettings(control_plane="unix:/nowhere", node="n", socket=tmp_path / "extproc.sock"), clock=clock
    )
    worker.take(Catalog("1", (make.provider("a"),)))
    return worker


async def routed(worker: Worker, make: Make) -> Routing:
    routing = await worker.routing.router.route(RequestHead(OpenAIChat(), {}), make.body())
    assert isinstance(routing, Routing)
    return routing


async def test_records_are_timed_by_it(worker: Worker, make: Make, clock: HandClock) -> None:
    clock.now_s = 5_000.0
    assert (await routed(worker, make)).record.started_s == 5_000.0


async def test_outages_end_by_it(worker: Worker, make: Make, clock: HandClock) -> None:
    for _ in range(3):
        worker.routing.tracker.apply(AttemptFailed("a"))
    assert (await routed(worker, make)).decision.reason == "last_resort.all_out"
    clock.now_s += 5.0
    assert (await routed(worker, make)).decision.reason != "last_resort.all_out"
