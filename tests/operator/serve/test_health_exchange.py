"""Who is told what: never a worker beside the Envoy that reports, the newest verdicts first, and everybody in turn."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from limpet_extproc.contract.health_stream import (
    HealthOrder,
    ProbeAnswer,
    Probed,
    ProbeRequest,
    ProbeVerdicts,
    Relayed,
    decode_order,
)
from limpet_operator.serve.health_exchange import (
    CannotAskError,
    HealthExchange,
    HealthWorker,
    NoHealthPeers,
    next_to_ask,
)
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.outbox import MAX_REPORT_BYTES, MAX_UNSENT, MAX_UNSENT_BYTES

EVENTS = msgspec.Raw(b'[["AttemptFailed","a","m"]]')
DOWN = ProbeVerdicts((Probed("a", "Down"),), valid_s=30.0)
UP = ProbeVerdicts((Probed("a", "Up"),), valid_s=30.0)
REQUEST = ProbeRequest(0, "a", "GET", "/models", timeout_s=5.0)


class Room:
    """An exchange of one replica, and the time there."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.registry = CollectorRegistry()
        self.exchange = HealthExchange(NoHealthPeers(), build_metrics(self.registry, "test"), lambda: self.now_s)

    def count(self, name: str, **labels: str) -> Any:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def room() -> Room:
    return Room()


def sent(worker: HealthWorker) -> list[HealthOrder]:
    """All that is to be sent to a worker now."""
    orders = []
    while (data := worker.outbox.next()) is not None:
        orders.append(decode_order(data))
    return orders


def test_events_go_to_the_workers_beside_other_envoys(room: Room) -> None:
    one, sibling, other, third = (room.exchange.join(node) for node in ("n1", "n1", "n2", "n3"))
    room.exchange.observed(one, EVENTS)
    assert [sent(worker) for worker in (one, sibling, other, third)] == [[], [], [Relayed(EVENTS)], [Relayed(EVENTS)]]
    room.exchange.leave(third)
    room.exchange.observed_elsewhere("n2", EVENTS)
    assert [sent(worker) for worker in (one, sibling, other)] == [[Relayed(EVENTS)], [Relayed(EVENTS)], []]
    assert room.count("limpet_relayed_reports_total") == 4
    assert room.count("limpet_health_streams") == 3


def test_a_worker_that_does_not_read_loses_the_oldest_and_holds_no_more_memory(room: Room) -> None:
    one, slow = room.exchange.join("n1"), room.exchange.join("n2")
    for number in range(MAX_UNSENT + 7):
        room.exchange.observed(one, msgspec.Raw(b"[%d]" % number))
    assert sent(slow) == [Relayed(msgspec.Raw(b"[%d]" % number)) for number in range(7, MAX_UNSENT + 7)]
    assert room.count("limpet_dropped_reports_total") == 7


def test_reports_that_wait_hold_no_more_than_four_megabytes_and_a_longer_one_is_not_passed_on(room: Room) -> None:
    one, slow = room.exchange.join("n1"), room.exchange.join("n2")
    fits = msgspec.Raw(b'["' + b"x" * (MAX_REPORT_BYTES - 4) + b'"]')
    for _ in range(100):
        room.exchange.observed(one, fits)
    room.exchange.observed(one, msgspec.Raw(b'["' + b"x" * MAX_REPORT_BYTES + b'"]'))
    waiting = sent(slow)
    assert waiting == [Relayed(fits)] * len(waiting)
    assert MAX_UNSENT_BYTES - 2 * MAX_REPORT_BYTES < len(waiting) * MAX_REPORT_BYTES <= MAX_UNSENT_BYTES
    assert room.count("limpet_dropped_reports_total") == 100 - len(waiting) + 1
    room.exchange.observed(one, EVENTS)
    assert sent(slow) == [Relayed(EVENTS)]


def test_verdicts_go_to_all_now_and_to_later_ones_first_for_as_long_as_they_hold(room: Room) -> None:
    early = room.exchange.join("n1")
    room.exchange.publish(UP)
    room.exchange.publish(DOWN)
    assert sent(early) == [DOWN], "verdicts replace each other"
    room.now_s += 10
    late = room.exchange.join("n2")
    room.exchange.observed(early, EVENTS)
    assert sent(late) == [msgspec.structs.replace(DOWN, valid_s=20.0), Relayed(EVENTS)]
    room.now_s += 20
    assert sent(room.exchange.join("n1")) == [], "an operator that no longer probes keeps nobody down"


async def answer(exchange: HealthExchange, worker: HealthWorker) -> None:
    """The worker answers all that it was asked, with the path."""
    for order in sent(worker):
        assert isinstance(order, ProbeRequest)
        exchange.answered(worker, ProbeAnswer(order.id, 200, body=order.path))


async def test_an_answer_finds_who_asked(room: Room) -> None:
    worker = room.exchange.join("n1")
    asking = [
        asyncio.create_task(room.exchange.ask(ProbeRequest(7, "a", "GET", path))) for path in ("/one", "/two", "/three")
    ]
    await asyncio.sleep(0)
    await answer(room.exchange, worker)
    assert [(each.id, each.body) for each in await asyncio.gather(*asking)] == [(7, "/one"), (7, "/two"), (7, "/three")]
    room.exchange.answered(worker, ProbeAnswer(1, 500))
    assert room.count("limpet_probe_requests_total", outcome="answered") == 3
    assert worker.asked == {}


async def test_gateways_are_asked_in_turn_and_so_are_the_workers_of_each(room: Room) -> None:
    workers = {name: room.exchange.join(name[0]) for name in ("x1", "x2", "x3", "y1", "z1", "z2")}
    turns = []
    for _ in range(18):
        asking = asyncio.create_task(room.exchange.ask(REQUEST))
        await asyncio.sleep(0)
        (name,) = (name for name, each in workers.items() if each.asked)
        turns.append(name)
        await answer(room.exchange, workers[name])
        await asking
    assert [name[0] for name in turns] == ["x", "y", "z"] * 6
    assert [turns.count(name) for name in workers] == [2, 2, 2, 6, 3, 3]


@given(st.lists(st.sampled_from(["x", "y", "z", "leave"]), min_size=1, max_size=40))
def test_whoever_comes_and_goes_every_gateway_gets_its_turn(steps: list[str]) -> None:
    workers: list[HealthWorker] = []

    def ask(number: int) -> str | None:
        chosen = next_to_ask(workers)
        if chosen is None:
            return None
        chosen.last_asked = number
        return chosen.node

    for number, step in enumerate(steps, start=1):
        if step != "leave":
            workers.append(HealthWorker(step))
        elif workers:
            workers.pop(0)
        assert (ask(number) is None) == (not workers)
    gateways = {worker.node for worker in workers}
    assert {ask(100 + number) for number, _ in enumerate(gateways)} == gateways


async def test_one_gateway_can_be_asked_for(room: Room) -> None:
    room.exchange.join("x")
    worker = room.exchange.join("y")
    for _ in range(3):
        asking = asyncio.create_task(room.exchange.ask(REQUEST, "y"))
        await asyncio.sleep(0)
        await answer(room.exchange, worker)
        assert (await asking).status == 200


async def test_nobody_to_ask_and_a_worker_that_leaves_are_no_answers_of_the_provider(room: Room) -> None:
    with pytest.raises(CannotAskError, match="no worker of any gateway is connected"):
        await room.exchange.ask(REQUEST)
    worker = room.exchange.join("n1")
    with pytest.raises(CannotAskError, match="no worker beside n2 is connected"):
        await room.exchange.ask(REQUEST, "n2")
    asking = asyncio.create_task(room.exchange.ask(REQUEST))
    await asyncio.sleep(0)
    room.exchange.leave(worker)
    with pytest.raises(CannotAskError, match="the worker beside n1 left"):
        await asking
    assert room.count("limpet_probe_requests_total", outcome="lost") == 1


async def test_a_worker_that_stays_silent_is_waited_for_only_so_long(room: Room) -> None:
    worker = room.exchange.join("n1")
    with pytest.raises(CannotAskError, match=r"did not answer within 0\.01 s"):
        await room.exchange.ask(msgspec.structs.replace(REQUEST, timeout_s=-1.99))
    assert worker.asked == {}
