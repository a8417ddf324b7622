"""A worker's prices follow the hour by themselves, and it says which hold."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.extproc.conftest import Make
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.prices import Price, PriceRules, PriceWindow
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.process.worker import Worker
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing

MONDAY_S = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
PEAK = PriceWindow("peak", "UTC", (0,), 60, 240, Price(10.0, 40.0, 1.0, 10.0))


@pytest.fixture
def clock() -> HandClock:
    return HandClock(MONDAY_S)


@pytest.fixture
async def worker(make: Make, clock: HandClock, tmp_path: Path) -> Worker:
    settings = WorkerSettings(control_plane="unix:/nowhere", node="n", socket=tmp_path / "extproc.sock")
    worker = Worker(settings, clock=clock)
    peaky = make.provider("peaky", price=Price(0.1, 0.4, 0.01, 0.1), rules=PriceRules(windows=(PEAK,)))
    worker.take(Catalog("1", (peaky, make.provider("steady"), make.provider("engine", price=None, drain=True))))
    return worker


async def first(worker: Worker, make: Make) -> str:
    routing = await worker.routing.router.route(RequestHead(OpenAIChat(), {}), make.body(provider={"sort": "price"}))
    assert isinstance(routing, Routing)
    return routing.decision.order[0]


def shown(worker: Worker, name: str, **labels: str) -> float | None:
    return worker.metrics.registry.get_sample_value(name, labels)


async def test_a_window_that_turns_moves_requests_without_a_new_catalog(
    worker: Worker, make: Make, clock: HandClock
) -> None:
    seen = []
    for hour in (0.0, 1.0, 3.99, 4.0, 24 + 2.0):
        clock.now_s = MONDAY_S + hour * HOUR_S
        worker.turn()
        window = shown(worker, "limpet_price_window", provider="peaky", model=make.model, window="peak")
        seen.append((hour, await first(worker, make), window))
    assert seen == [
        (0.0, "peaky", None),
        (1.0, "steady", 1.0),
        (3.99, "steady", 1.0),
        (4.0, "peaky", None),
        (26.0, "peaky", None),
    ]


async def test_a_catalog_that_comes_in_a_window_is_priced_by_it(worker: Worker, make: Make, clock: HandClock) -> None:
    clock.now_s = MONDAY_S + 2 * HOUR_S
    again = make.provider("peaky", price=Price(0.1, 0.4, 0.01, 0.1), rules=PriceRules(windows=(PEAK,)))
    worker.take(Catalog("2", (again, make.provider("steady"))))
    assert await first(worker, make) == "steady"


async def test_models_without_a_price_are_counted(worker: Worker, make: Make) -> None:
    assert shown(worker, "limpet_unpriced_models", provider="engine") == 1.0
    assert shown(worker, "limpet_unpriced_models", provider="steady") is None
    worker.take(Catalog("2", (make.provider("steady"),)))
    assert shown(worker, "limpet_unpriced_models", provider="engine") is None
