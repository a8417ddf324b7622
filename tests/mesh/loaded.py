"""Requests that go on while a story changes something, none of which may be lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.envoy.group import Load
from tests.mesh.story import MeshStage
from tests.waiting import until


@asynccontextmanager
async def loaded(stage: MeshStage) -> AsyncIterator[Load]:
    """Requests without a pause until the end of the block; none of them may be lost."""
    load, ending = Load(stage, range(12)), asyncio.Event()

    async def go_on() -> None:
        while not ending.is_set():
            await load.run(0.5)

    loading = asyncio.create_task(go_on())
    try:
        yield load
    finally:
        ending.set()
        await loading
    assert load.errors == []
    assert load.answers


async def answered_by(load: Load, *sellers: str) -> None:
    """Return when new requests have been answered by exactly these sellers."""

    async def reached() -> bool:
        seen = len(load.answers)
        await until(lambda: len(load.answers) >= seen + 24, "answers")
        return {answer.seller for _, _, answer in load.answers[seen:]} == {*sellers}

    await until(reached, f"answers of {sellers}")
