"""Tasks that begin and end together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(
    work: Coroutine[Any, Any, object], *ignored: type[BaseException]
) -> AsyncIterator["asyncio.Task[object]"]:
    """Run a task for as long as the block runs.

    Leaving the block cancels the task, waits for its end, and raises its error unless it is one of `ignored`.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        # Gathered: awaiting it with its cancellation suppressed would suppress our own as well.
        (error,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(error, BaseException) and not isinstance(error, (asyncio.CancelledError, *ignored)):
            raise error


async def first_of(*parts: Awaitable[object], before_ending: Callable[[], None] = lambda: None) -> None:
    """Run all until one ends, then cancel the others and wait for their end. Raises the error of the one that ended.

    `before_ending` runs before the others are cancelled.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        before_ending()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class OpenStreams:
    """The tasks beside the open streams of a server, so that all streams can be ended in good order."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def beside(
        self, work: Coroutine[Any, Any, object], *ignored: type[BaseException]
    ) -> AsyncIterator["asyncio.Task[object]"]:
        """`beside`, for a stream that lasts until the task ends."""
        async with beside(work, *ignored) as task:
            self._tasks.add(task)
            try:
                yield task
            finally:
                self._tasks.discard(task)

    def close(self) -> None:
        """End every stream; for just before the server's `stop(grace)`, which would break them off."""
        for task in self._tasks:
            task.cancel()
