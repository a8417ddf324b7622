"""Batches that hold up nobody: others come in between, and a cancelled task still does all of its parts."""

import asyncio

import pytest

from limpet_extproc.envoy.in_turns import in_turns


async def test_whoever_waits_for_the_loop_comes_first_after_every_few_parts() -> None:
    done: list[object] = []
    batch = asyncio.create_task(in_turns(range(5), done.append, 2, 1.0, lambda: 0.0))
    await asyncio.sleep(0)
    while not batch.done():
        done.append("other")
        await asyncio.sleep(0)
    assert done == [0, 1, "other", 2, 3, "other", 4]


async def test_a_cancelled_task_does_all_of_its_parts_and_ends() -> None:
    done: list[int] = []
    batch = asyncio.create_task(in_turns(range(5), done.append, 2, 1.0, lambda: 0.0))
    await asyncio.sleep(0)
    assert done == [0, 1]
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert done == [0, 1, 2, 3, 4]


async def test_nothing_to_do_is_done_at_once() -> None:
    async def pause() -> None:
        pytest.fail("there was nothing to pause for")

    await in_turns((), pytest.fail, 1, 1.0, pause=pause)


async def test_a_batch_that_took_long_is_done_in_a_row() -> None:
    done: list[object] = []
    now_s = 0.0
    batch = asyncio.create_task(in_turns(range(6), done.append, 1, 2.5, lambda: now_s))
    await asyncio.sleep(0)
    while not batch.done():
        done.append("other")
        now_s += 1.0
        await asyncio.sleep(0)
    assert done == [0, "other", 1, "other", 2, "other", 3, 4, 5]
