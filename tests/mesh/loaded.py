"""Requests that go on while a story changes something, none of which may be lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.envoy.group import Load
from tests.envoy.stage import Stage
from tests.waiting import until

FIRST: Final = range(24)
FURTHER: Final = range(24, 48)
"""Conversations that begin later, as others stay where they are. So many that no provider is left out by chance."""

_ROUND_S: Final = 1.2
"""In which each of them asks once."""


@asynccontextmanager
async def loaded(stage: Stage) -> AsyncIterator[Load]:
    """Requests without a pause until the end of the block; none of them may be lost."""
    load, ending = Load(stage, FIRST), asyncio.Event()

    async def go_on() -> None:
        while not ending.is_set():
            await load.run(_ROUND_S)

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
        await until(lambda: len(load.answers) >= seen + 2 * len(FIRST), "answers")
        return {answer.seller for _, _, answer in load.answers[seen:]} == {*sellers}

    await until(reached, f"answers of {sellers}")
