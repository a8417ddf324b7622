"""Keeps the workers of one gateway running: starts them, restarts those that end or hang, and stops all of them."""

import asyncio
import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from limpet_extproc.contract.worker_status import (
    CHECK_EVERY_S,
    CHECKS,
    CHECKS_AT_START,
    WorkerReport,
    WorkerStatus,
    next_pause_s,
    stalled,
)
from limpet_extproc.process.first_of import first_of
from limpet_extproc.process.local_http import accepts, ask
from limpet_extproc.process.settings import envoy_socket, status_socket
from limpet_extproc.telemetry.merged_metrics import merged

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ASK_S: Final = 1.0
_STOP_S: Final = 8.0
"""For a worker to end after SIGTERM: requests under way get a second, the memory's last writes another."""


@dataclass(slots=True)
class Supervisor:
    """Runs these commands, one for each worker, in the order of their numbers."""

    directory: Path
    """Of the workers' sockets."""
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    pause_s: Callable[[float, float], float] = next_pause_s
    check_every_s: float = CHECK_EVERY_S
    stop_s: float = _STOP_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    restarts: dict[int, int] = field(default_factory=dict)
    _running: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep all of them running until `stop`, then end them."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self.commands)):
                group.create_task(self._keep(number))

    def stop(self) -> None:
        """Let `run` end: no worker is started any more, and running ones get SIGTERM."""
        self._stopping.set()

    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def pid(self, number: int) -> int:
        """The process id of a worker that was started."""
        return self._running[number].pid

    async def _keep(self, number: int) -> None:
        pause_s = 0.0
        while not self.stopping():
            began_s = self.clock()
            try:
                process = self._running[number] = await self._start(number)
            except OSError as error:
                why = f"could not be started ({error.strerror})"
            else:
                why = await self._wait(number, process)
            if self.stopping():
                return
            lived_s = self.clock() - began_s
            pause_s = self.pause_s(pause_s, lived_s)
            self.restarts[number] = self.restarts.get(number, 0) + 1
            _log.error("worker %d %s after %.0f s; starting it again in %.1f s", number, why, lived_s, pause_s)
            await first_of(self._stopping.wait(), self.sleep(pause_s))

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        # setpriv has the kernel end the child when we end, even if we are killed.
        setpriv = shutil.which("setpriv")
        dies_with_us = (setpriv, "--pdeathsig=KILL", "--") if setpriv else ()
        return await asyncio.create_subprocess_exec(
            *dies_with_us,
            *self.commands[number],
            stdin=asyncio.subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor, which ends the workers in order
        )

    async def _wait(self, number: int, process: asyncio.subprocess.Process) -> str:
        """Wait until the worker has ended; it is ended if it hangs or when we stop. How it ended."""
        ended = asyncio.create_task(process.wait())
        await first_of(asyncio.shield(ended), self._stopping.wait(), self._hung(number))
        if ended.done():
            return _how(ended.result())
        if not self.stopping():
            process.kill()
            await ended
            return "hung and was killed"
        process.terminate()
        await first_of(asyncio.shield(ended), self.sleep(self.stop_s))
        if not ended.done():
            _log.warning("worker %d did not end within %.0f s and is killed", number, self.stop_s)
            process.kill()
        return _how(await ended)

    async def _hung(self, number: int) -> None:
        """Return when too many checks in a row have failed."""
        failed, bound = 0, CHECKS_AT_START
        while failed < bound:
            await self.sleep(self.check_every_s)
            if stalled(await asyncio.to_thread(self._report, number)):
                failed += 1
            else:
                failed, bound = 0, CHECKS

    def statuses(self) -> list[WorkerStatus]:
        """The status of each worker now, fetched side by side; from any thread."""
        return self._each(self._status)

    def metrics(self) -> bytes:
        """The metrics of all workers, fetched side by side; from any thread."""
        pages = self._each(lambda number: ask(status_socket(self.directory, number), "/metrics", _ASK_S))
        texts = {number: page.decode() if page is not None else None for number, page in enumerate(pages)}
        return merged(texts, dict(self.restarts))

    def _each(self, do: Callable[[int], T]) -> list[T]:
        with ThreadPoolExecutor(len(self.commands)) as pool:
            return list(pool.map(do, range(len(self.commands))))

    def _status(self, number: int) -> WorkerStatus:
        return WorkerStatus(number, accepts(envoy_socket(self.directory, number), _ASK_S), self._report(number))

    def _report(self, number: int) -> WorkerReport | None:
        body = ask(status_socket(self.directory, number), "/status", _ASK_S)
        return None if body is None else msgspec.json.decode(body, type=WorkerReport)


def _how(exit_status: int) -> str:
    if exit_status < 0:
        return f"was ended by {signal.Signals(-exit_status).name}"
    return f"ended with status {exit_status}"
