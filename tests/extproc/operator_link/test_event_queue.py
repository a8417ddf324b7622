"""Events that wait for the health stream: in order, together, and never more than a worker can afford."""

import asyncio

import msgspec
import pytest

from limpet_extproc.contract.health_stream import Observed
from limpet_extproc.operator_link.event_queue import COLLECT_S, FRESH_S, MAX_EVENTS, MAX_WAITING, EventQueue
from limpet_extproc.providers.events import AnswerGenerated


class Waiting:
    """A queue, the time of its clock, and what it dropped and slept."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.dropped = 0
        self.slept: list[float] = []
        self.queue = EventQueue(self._drop, lambda: self.now_s, self._sleep)

    def _drop(self, events: int) -> None:
        self.dropped += events

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def add(self, numbers: range) -> None:
        for number in numbers:
            self.queue.add(AnswerGenerated("a", number, 1.0))

    async def next(self) -> list[int]:
        report, events = await self.queue.next()
        found = numbers_of(report)
        assert len(found) == events
        return found


def numbers_of(report: Observed) -> list[int]:
    return [event.tokens for event in msgspec.json.decode(report.events, type=list[AnswerGenerated])]


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


async def test_events_of_a_moment_go_together_in_their_order(waiting: Waiting) -> None:
    reading = asyncio.create_task(waiting.next())
    await asyncio.sleep(0)
    assert waiting.slept == [], "nobody is woken for nothing"
    waiting.add(range(5))
    assert await reading == [0, 1, 2, 3, 4]
    assert waiting.slept == [COLLECT_S]


async def test_many_go_in_several_reports(waiting: Waiting) -> None:
    waiting.add(range(MAX_EVENTS + 3))
    assert await waiting.next() == list(range(MAX_EVENTS))
    assert await waiting.next() == [MAX_EVENTS, MAX_EVENTS + 1, MAX_EVENTS + 2]
    assert waiting.dropped == 0


async def test_the_oldest_are_dropped_while_nobody_takes_them(waiting: Waiting) -> None:
    waiting.add(range(MAX_WAITING + 10))
    assert waiting.dropped == 10
    assert (await waiting.next())[0] == 10


async def test_what_waited_too_long_is_not_news_any_more(waiting: Waiting) -> None:
    waiting.add(range(3))
    waiting.now_s += FRESH_S + 1
    reading = asyncio.create_task(waiting.next())
    await asyncio.sleep(0.01)
    assert not reading.done()
    assert waiting.dropped == 3
    waiting.add(range(7, 9))
    assert await reading == [7, 8]
