"""Child processes of a command on one machine: started, watched, and ended with their parent, however that ends."""

import asyncio
import shutil
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from limpet_operator.laptop.priority import run_in_background
from limpet_operator.serve.tasks import first_of

_LAST_WORDS: Final = 2000
"""Characters of a dead child's log that are shown."""


class ChildDied(Exception):  # noqa: N818 (says what happened)
    """A child ended that was not stopped; the message has its name, its status and its last words."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


def dies_with_parent() -> tuple[str, ...]:
    """Put before a command, it has the kernel end the child with its parent, even if that is killed."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig=KILL", "--") if setpriv else ()


@dataclass(slots=True)
class Children:
    """The children of this process. `log_dir` takes the output of those that are not shown."""

    log_dir: Path
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        shown: bool = False,
        env: Mapping[str, str] | None = None,
        umask: int = -1,
        background: bool = False,
    ) -> asyncio.subprocess.Process:
        """Start a child. `shown`: its output goes where ours goes. Raises OSError if the program cannot be run.

        `umask`: -1 is our own. `background`: others have the processors first.
        """
        with self._log(name).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *dies_with_parent(),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=None if shown else log,
                stderr=None if shown else log,
                env=env,
                umask=umask,
                start_new_session=True,  # a Ctrl-C at the terminal is for the parent, which ends the children in order
            )
        if background:
            run_in_background(process.pid)
        self._running[name] = process
        return process

    def pid(self, name: str) -> int:
        """The process id of a child that was started."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """End a child at once if it still runs; `watch` raises ChildDied."""
        with suppress(ProcessLookupError):
            self._running[name].kill()

    async def watch(self) -> None:
        """Never return; raise ChildDied as soon as one has ended."""
        await first_of(*(self._died(name) for name in self._running))

    async def until(self, ready: Coroutine[Any, Any, None], within_s: float) -> None:
        """Return when `ready` does. Raises ChildDied if a child ends before, TimeoutError if it takes too long."""
        async with asyncio.timeout(within_s):
            await first_of(self.watch(), ready)

    async def wait(self, name: str) -> int:
        """The exit status of a child, once it has ended."""
        return await self._running[name].wait()

    async def _died(self, name: str) -> None:
        await self.wait(name)
        raise ChildDied(name, self.last_words(name))

    def last_words(self, name: str) -> str:
        """How a child ended, and the end of its log, for a person."""
        log = self._log(name)
        text = log.read_text(errors="replace")[-_LAST_WORDS:].strip() if log.exists() else ""
        return f"{name} ended with status {self._running[name].returncode}" + (
            f"; its last words:\n{text}" if text else ""
        )

    async def stop(self, grace_s: float = 5.0) -> None:
        """End all, newest first; those that do not end in time are killed."""
        for process in reversed(self._running.values()):
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            try:
                await asyncio.wait_for(process.wait(), grace_s)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _log(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"
