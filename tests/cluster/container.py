"""One container's life: started, probed, restarted when it ends or fails, stopped by its hook, TERM and KILL."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.probes import Place, Rhythm, ask

_LAUNCHER: Final = Path(__file__).with_name("sandbox.py")
_BACKOFF_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Before each restart. Nodes begin with 10 s; nothing here is learned from waiting longer."""
_KILLED_BY_US_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container is started in."""

    name: str
    directory: Path
    spec: Mapping[str, Any]
    """As the pod has it: probes, lifecycle, securityContext."""
    sandbox: Mapping[str, Any]
    """Input of the launcher: image, mounts, argv, env and so on."""
    ip: str
    grace_s: float


class Container:
    """A container and its restarts."""

    def __init__(self, around: Surroundings, changed: Callable[[], None]) -> None:
        self.name = around.name
        self._around = around
        self._changed = changed
        self.started = False
        """Its startup probe has succeeded, or it has none and runs."""
        self.ready = False
        self.restarts = 0
        self.exit_code: int | None = None
        self.trouble = ""
        """Message of the last failed probe, hook or exit."""
        self._pid: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._life: asyncio.Task[None] | None = None
        spec = around.spec
        self._ports = {each["name"]: each["containerPort"] for each in spec.get("ports", ()) if "name" in each}

    @property
    def log(self) -> Path:
        """Everything that its processes wrote."""
        return self._around.directory / "log"

    @property
    def pid(self) -> int | None:
        """Its first process, as seen from here; None while there is none."""
        return self._pid

    def pids(self) -> list[int]:
        """All of its processes."""
        if self._pid is None:
            return []
        try:
            ours = Path(f"/proc/{self._pid}/ns/pid").readlink()
        except OSError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if (entry / "ns/pid").readlink() == ours:
                        found.append(int(entry.name))
        return sorted(found)

    def send(self, number: signal.Signals) -> None:
        """A signal to every process in it: KILL is a crash, STOP a freeze that CONT ends."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def begin(self) -> None:
        """Start it, and keep it running until it is stopped."""
        self._life = asyncio.create_task(self._live())

    async def run_once(self) -> int:
        """Run it to its end, as an init container; its exit status."""
        return await self._run()

    async def stop(self, deadline: float) -> None:
        """Hook, TERM, and KILL at the deadline (seconds of the monotonic clock); returns when it has ended."""
        self._stopping = True
        self._set(ready=False)
        await self._end(deadline)
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    def kill(self) -> None:
        """End it for good, with no hook and no grace."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self, command: list[str], timeout_s: float) -> tuple[int, str]:
        """A command in the container. Raises TimeoutError, and OSError if nothing runs there."""
        if self._pid is None:
            raise ProcessLookupError(f"container {self.name} does not run")
        within = ["nsenter", f"--target={self._pid}", "--mount", "--net", "--pid", "--uts", "--", *command]
        process = await asyncio.create_subprocess_exec(
            *within,
            env=self._around.sandbox["env"],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        return process.returncode or 0, output.decode(errors="replace")

    @property
    def _place(self) -> Place:
        return Place(self._around.ip, self._ports, self.run)

    async def _live(self) -> None:
        for attempt in itertools.count():
            probing = asyncio.create_task(self._probe())
            try:
                self.exit_code = await self._run()
            finally:
                probing.cancel()
                await asyncio.gather(probing, return_exceptions=True)
            self._set(ready=False, started=False)
            if self._stopping:
                return
            self.trouble = f"ended with status {self.exit_code}"
            await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
            if self._stopping:
                return
            self.restarts += 1
            self._changed()

    async def _run(self) -> int:
        directory = self._around.directory
        directory.mkdir(parents=True, exist_ok=True)
        pid_file, spec_file = directory / "pid", directory / "spec.json"
        pid_file.unlink(missing_ok=True)
        spec_file.write_text(json.dumps(dict(self._around.sandbox)))
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_LAUNCHER),
                str(spec_file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._process = process
        try:
            while not pid_file.exists() and process.returncode is None:  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(0.01)
            self._pid = int(pid_file.read_text()) if pid_file.exists() else None
            return await process.wait()
        finally:
            self._pid = None
            if process.returncode is None:
                process.kill()  # the kernel ends the container with it
                await process.wait()

    async def _probe(self) -> None:
        """Startup first, then readiness and liveness side by side."""
        spec = self._around.spec
        if startup := spec.get("startupProbe"):
            if not await self._until_started(startup):
                await self._restart("startup probe: " + self.trouble)
                return
        else:
            while self._pid is None:  # noqa: ASYNC110 - it has its own restarts
                await asyncio.sleep(0.01)
        self._set(started=True, ready="readinessProbe" not in spec)
        probes = []
        if readiness := spec.get("readinessProbe"):
            probes.append(self._watch_readiness(readiness))
        if liveness := spec.get("livenessProbe"):
            probes.append(self._watch_liveness(liveness))
        await asyncio.gather(*probes)

    async def _until_started(self, probe: Mapping[str, Any]) -> bool:
        rhythm = Rhythm.of(probe)
        await asyncio.sleep(rhythm.delay_s)
        for _ in range(rhythm.failures):
            begun = time.monotonic()
            problem = await ask(probe, self._place, rhythm.timeout_s)
            if problem is None:
                return True
            self.trouble = problem
            await asyncio.sleep(max(0.0, begun + rhythm.period_s - time.monotonic()))
        return False

    async def _watch_readiness(self, probe: Mapping[str, Any]) -> None:
        rhythm, good, bad = Rhythm.of(probe), 0, 0
        await asyncio.sleep(rhythm.delay_s)
        while not self._stopping:
            begun = time.monotonic()
            problem = await ask(probe, self._place, rhythm.timeout_s)
            good, bad = (good + 1, 0) if problem is None else (0, bad + 1)
            self.trouble = problem or self.trouble
            if good >= rhythm.successes and not self._stopping:
                self._set(ready=True)
            elif bad >= rhythm.failures:
                self._set(ready=False)
            await asyncio.sleep(max(0.0, begun + rhythm.period_s - time.monotonic()))

    async def _watch_liveness(self, probe: Mapping[str, Any]) -> None:
        rhythm, bad = Rhythm.of(probe), 0
        await asyncio.sleep(rhythm.delay_s)
        while not self._stopping:
            begun = time.monotonic()
            problem = await ask(probe, self._place, rhythm.timeout_s)
            bad = 0 if problem is None else bad + 1
            if bad >= rhythm.failures:
                await self._restart(f"liveness probe: {problem}")
                return
            await asyncio.sleep(max(0.0, begun + rhythm.period_s - time.monotonic()))

    async def _restart(self, why: str) -> None:
        self.trouble = why
        with self.log.open("a") as log:
            log.write(f"--- restarted by the kubelet: {why}\n")
        await self._end(time.monotonic() + self._around.grace_s)

    async def _end(self, deadline: float) -> None:
        """End what runs now."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        hook = (self._around.spec.get("lifecycle") or {}).get("preStop")
        if hook is not None and self._pid is not None:
            problem = await ask(hook, self._place, max(0.1, deadline - time.monotonic()))
            if problem is not None:
                self.trouble = f"preStop: {problem}"
                with self.log.open("a") as log:
                    log.write(f"--- preStop hook failed: {problem}\n")
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), max(0.1, deadline - time.monotonic()))
        except TimeoutError:
            self.trouble = "killed: it had not ended when its grace period had"
            with self.log.open("a") as log:
                log.write(f"--- {self.trouble}\n")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.wait(), _KILLED_BY_US_S)

    def _set(self, *, ready: bool | None = None, started: bool | None = None) -> None:
        before = (self.ready, self.started)
        self.ready = self.ready if ready is None else ready
        self.started = self.started if started is None else started
        if before != (self.ready, self.started):
            self._changed()
