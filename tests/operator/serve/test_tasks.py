"""Tasks that begin and end together: none outlives its block, and no error is lost."""

import asyncio

import pytest

from limpet_operator.serve.tasks import OpenStreams, beside, first_of


class Work:
    """Runs until it is cancelled, or until `fail`."""

    def __init__(self) -> None:
        self.failing = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        try:
            await self.failing.wait()
            raise LookupError("failed")
        finally:
            self.ended = True


async def test_what_runs_beside_a_block_ends_with_it() -> None:
    work = Work()
    async with beside(work.run()):
        await asyncio.sleep(0)
    assert work.ended


async def test_its_error_is_raised_at_the_end_of_the_block_unless_it_is_ignored() -> None:
    work = Work()
    work.failing.set()

    async def block(*ignored: type[BaseException]) -> None:
        async with beside(work.run(), *ignored) as task:
            await asyncio.wait({task})

    with pytest.raises(LookupError, match="failed"):
        await block()
    await block(LookupError)


async def test_our_own_cancellation_goes_on() -> None:
    work = Work()

    async def block() -> None:
        async with beside(work.run()):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended


async def test_the_first_to_end_ends_the_others() -> None:
    work, steps = Work(), []
    await first_of(work.run(), asyncio.sleep(0), before_ending=lambda: steps.append(work.ended))
    assert steps == [False]
    assert work.ended
    work.failing.set()
    with pytest.raises(LookupError, match="failed"):
        await first_of(work.run(), asyncio.Event().wait())


async def test_closing_ends_open_streams_in_good_order() -> None:
    streams, work = OpenStreams(), Work()
    async with streams.beside(work.run()) as task:
        await asyncio.sleep(0)
        streams.close()
        await asyncio.wait({task})
    assert work.ended
