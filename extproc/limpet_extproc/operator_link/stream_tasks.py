"""Tasks that write to a stream while one reader reads it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

import grpc.aio

_ENDED: Final = (asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError)
"""How writing ends with the stream. Its reader reports why."""


def writer(call: Any) -> Callable[[bytes], Awaitable[None]]:
    """A function that writes to the call, for several tasks."""
    one_at_a_time = asyncio.Lock()

    async def write(data: bytes) -> None:
        async with one_at_a_time:
            await call.write(data)

    return write


class StreamTasks:
    """`async with StreamTasks() as tasks`: leaving cancels those that run, and raises an error of any of them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run this until it ends or the block is left."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, _ENDED):
            self._error = self._error or error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        # Gathered: awaiting them with their cancellation suppressed would suppress our own as well.
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, _ENDED):
                self._error = self._error or result
        if self._error is not None:
            raise self._error
