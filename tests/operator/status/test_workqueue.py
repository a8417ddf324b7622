"""The work queue: a key waits once, is never processed twice at the same time, and no addition is lost."""

import asyncio
import math
from collections import Counter
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from tests.operator.timeline import Timeline, settled

from limpet_operator.status.workqueue import WorkQueue


def queue_and_time() -> tuple[WorkQueue[str], Timeline]:
    time = Timeline()
    return WorkQueue(clock=time.clock, sleep=time.sleep), time


async def taken(queue: WorkQueue[str]) -> list[str | None]:
    """All keys that can be had now, without `done`."""
    keys: list[str | None] = []
    while True:
        getting = asyncio.create_task(queue.get())
        await settled()
        if not getting.done():
            getting.cancel()
            return keys
        keys.append(getting.result())


async def test_keys_come_in_their_order_and_each_once() -> None:
    queue, _ = queue_and_time()
    for key in ("a", "b", "a", "c", "b"):
        queue.add(key)
    assert await taken(queue) == ["a", "b", "c"]


async def test_a_key_that_is_added_while_it_is_processed_comes_again_when_that_is_done() -> None:
    queue, _ = queue_and_time()
    queue.add("a")
    assert await taken(queue) == ["a"]
    queue.add("a")
    queue.add("a")
    assert await taken(queue) == []
    queue.done("a")
    assert await taken(queue) == ["a"]
    queue.done("a")
    assert await taken(queue) == []


async def test_a_delayed_key_comes_when_its_earliest_delay_is_over() -> None:
    queue, time = queue_and_time()
    queue.add_after("a", 30)
    queue.add_after("b", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    queue.add_after("now", 0)
    assert await taken(queue) == ["now"]
    await time.advance(4.9)
    assert await taken(queue) == []
    await time.advance(0.1)
    assert await taken(queue) == ["a"]
    queue.done("a")
    await time.advance(5)
    assert await taken(queue) == ["b"]
    await time.advance(60)
    assert await taken(queue) == [], "the later delays of a were dropped"


async def test_delays_that_are_cancelled_never_end() -> None:
    queue, time = queue_and_time()
    queue.add_after("a", 5)
    queue.cancel_delayed()
    queue.add_after("b", 7)
    await time.advance(60)
    assert await taken(queue) == ["b"]


async def test_everyone_who_waits_learns_that_the_queue_is_shut_down() -> None:
    queue, time = queue_and_time()
    queue.add("being processed")
    assert await taken(queue) == ["being processed"]
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    queue.add_after("late", 1)
    await settled()
    queue.shut_down()
    queue.add("late")
    queue.done("being processed")
    await time.advance(5)
    assert await asyncio.gather(*waiting, queue.get()) == [None] * 4


async def test_a_key_passes_to_another_when_the_worker_that_was_woken_for_it_is_cancelled() -> None:
    queue, _ = queue_and_time()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await settled()
    queue.add("a")
    first.cancel()
    assert await second == "a"
    with suppress(asyncio.CancelledError):
        await first


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add_after"]), st.sampled_from("abc"), st.integers(1, 4))
    | st.tuples(st.just("advance"), st.none(), st.integers(1, 4)),
    max_size=30,
)


@given(STEPS, st.integers(1, 3), st.integers(0, 3))
def test_no_key_is_processed_twice_at_once_and_none_is_lost(
    steps: list[tuple[str, str | None, int]], workers: int, work_s: int
) -> None:
    async def run() -> None:
        queue, time = queue_and_time()
        processing: Counter[str] = Counter()
        handed_out: dict[str, list[tuple[float, int]]] = {key: [] for key in "abc"}
        """When each key was handed out, and after how many steps."""
        owed: list[tuple[str, float, int]] = []
        """Which key must be handed out once more, from when on, and after how many steps."""
        delayed: dict[str, float] = {}
        taken_steps = 0

        async def work() -> None:
            while (key := await queue.get()) is not None:
                processing[key] += 1
                assert processing[key] == 1
                handed_out[key].append((time.now_s, taken_steps))
                await time.sleep(work_s)
                processing[key] -= 1
                queue.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        await settled()
        for step, key, number in [*steps, ("advance", None, 1000)]:
            taken_steps += 1
            if key is None:
                await time.advance(number)
            elif step == "add":
                owed.append((key, time.now_s, taken_steps))
                queue.add(key)
            else:
                delayed[key] = min(time.now_s + number, delayed.get(key, math.inf))
                queue.add_after(key, number)
            for key, due_s in [*delayed.items()]:
                if due_s <= time.now_s:
                    owed.append((key, due_s, 0))
                    del delayed[key]
        for key, due_s, after in owed:
            assert any(at_s >= due_s and step >= after for at_s, step in handed_out[key])
        queue.shut_down()
        await asyncio.gather(*tasks)

    asyncio.run(run())
