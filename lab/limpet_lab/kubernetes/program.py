"""A program that can be started, stopped, killed, frozen and started again, with its log in a file."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limpet_operator.laptop.children import dies_with_parent

_LOG_TAIL = 3000


@dataclass(slots=True)
class Program:
    """One command line and its running process, if any. The log is appended to by every start."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    bound: bool = False
    """Whether it is killed when the thread that started it ends, for whatever reason."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process. Raises RuntimeError if there is none."""
        return self._running().pid

    def start(self) -> None:
        """Start it. A program that is neither stopped nor bound must run in a namespace whose end kills it."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} is already running")
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
        """Whether it is still running."""
        return self._process is not None and self._process.poll() is None

    def stop(self, grace_s: float = 20.0) -> int:
        """Terminate it and wait; kill it after the grace period. Returns the exit status, 0 if it was not running."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._reap()

    def kill(self) -> int:
        """Kill it, as if its machine were lost."""
        self._running().kill()
        return self._reap()

    def freeze(self) -> None:
        """Suspend it: it keeps its memory and connections and does nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        self._running().send_signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-_LOG_TAIL:].strip() if self.log.exists() else ""

    def _reap(self) -> int:
        code = self._running().wait()
        self._process = None
        return code

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process
