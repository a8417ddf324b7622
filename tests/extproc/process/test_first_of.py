"""Waiting for whichever comes first leaves nothing running."""

import asyncio

import pytest

from limpet_extproc.process.first_of import first_of


class Endless:
    """Waits until it is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = False

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


async def test_the_others_have_ended_when_the_first_one_has() -> None:
    endless = Endless()
    await first_of(endless.run(), endless.started.wait())
    assert endless.cancelled


async def test_what_the_first_one_raises_is_raised() -> None:
    endless = Endless()

    async def fails() -> None:
        await endless.started.wait()
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        await first_of(endless.run(), fails())
    assert endless.cancelled


async def test_a_cancelled_wait_leaves_nothing_running() -> None:
    endless = Endless()
    waiting = asyncio.create_task(first_of(endless.run()))
    await endless.started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert endless.cancelled


async def test_what_is_shielded_goes_on() -> None:
    endless = Endless()
    task = asyncio.create_task(endless.run())
    await first_of(asyncio.shield(task), endless.started.wait())
    assert not endless.cancelled
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
