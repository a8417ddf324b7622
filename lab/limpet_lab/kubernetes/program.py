"""A program that can be started, ended, killed, frozen and started again, with its log in a file."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limpet_operator.laptop.children import dies_with_parent

_LAST_WORDS = 3000


@dataclass(slots=True)
class Program:
    """One command line and the process that runs it, if any. The log grows over all starts."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    bound: bool = False
    """Whether it is killed at the end of the thread that started it, whatever becomes of that."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process. Raises RuntimeError if there is none."""
        return self._running().pid

    def start(self) -> None:
        """Start it. Who neither stops nor binds it must live in a world whose end is the end of all."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the caller's own program
                [*(dies_with_parent() if self.bound else ()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, grace_s: float = 20.0) -> int:
        """Ask it to end and wait; one that won't is killed. Returns the exit status, 0 if it did not run."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._reap()

    def kill(self) -> int:
        """End it at once, as a lost machine does."""
        self._running().kill()
        return self._reap()

    def freeze(self) -> None:
        """It keeps its memory and its connections and does nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        self._running().send_signal(signal.SIGCONT)

    def last_words(self) -> str:
        """The end of its log, for a person."""
        return self.log.read_text(errors="replace")[-_LAST_WORDS:].strip() if self.log.exists() else ""

    def _reap(self) -> int:
        code = self._running().wait()
        self._process = None
        return code

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process
