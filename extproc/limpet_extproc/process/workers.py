"""The parent of several workers: starts them, starts those again that end or hang, and ends all in good order."""

import argparse
import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

import msgspec

from limpet_extproc.contract import worker_status as status
from limpet_extproc.contract.worker_status import CHECK_EVERY_S, CHECKS, CHECKS_AT_START, Report, next_pause_s
from limpet_extproc.process.flags import BadStart, host_port
from limpet_extproc.process.local_http import Page, Pages, accepts, ask, serve_pages
from limpet_extproc.telemetry.worker_metrics import merged

T = TypeVar("T")

log = logging.getLogger("limpet.extproc.workers")

_ASK_S: Final = 1.0
_STOP_S: Final = 8.0
"""For a worker to end by itself: requests under way get a second, the memory's last writes another."""


def worker_command(flags: argparse.Namespace, number: int) -> list[str]:
    """The command of a worker: the parent's flags, less what is the parent's alone."""
    passed = {
        "--control-plane": flags.control_plane,
        "--node": flags.node,
        "--tls-dir": flags.tls_dir,
        "--redis-url": flags.redis_url,
        "--redis-credentials": flags.redis_credentials,
        "--redis-deadline-ms": flags.redis_deadline_ms,
        "--memory-key-file": flags.memory_key_file,
        "--max-conversations": flags.max_conversations,
        "--log-level": flags.log_level,
        "--log-format": flags.log_format,
        "--socket": envoy_socket(flags.socket_dir, number),
        "--status-socket": status_socket(flags.socket_dir, number),
        "--worker": number,
        "--siblings": flags.workers,
    }
    command = [sys.executable, "-m", "limpet_extproc"]
    command += [f"{flag}={value}" for flag, value in passed.items() if value is not None]
    return [*command, "--verbose"] if flags.verbose else command


def envoy_socket(directory: str, number: int) -> Path:
    """Where Envoy finds a worker."""
    return Path(directory, f"extproc-{number}.sock")


def status_socket(directory: str, number: int) -> Path:
    """Where the parent asks a worker how it is."""
    return Path(directory, f"status-{number}.sock")


@dataclass(slots=True)
class Workers:
    """The workers of one gateway: the command of each, by number, and the directory of their sockets."""

    directory: str
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    pause_s: Callable[[float, float], float] = next_pause_s
    check_every_s: float = CHECK_EVERY_S
    stop_s: float = _STOP_S
    restarts: dict[int, int] = field(default_factory=dict)
    _running: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Keep all of them running until `stop`, then end them."""
        async with asyncio.TaskGroup() as group:
            for number in range(len(self.commands)):
                group.create_task(self._keep(number))

    def stop(self) -> None:
        """Let `run` end: no worker is started any more, and those that run are told to end."""
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
            began_s = monotonic()
            try:
                process = self._running[number] = await self._start(number)
            except OSError as error:
                why = f"could not be started ({error.strerror})"
            else:
                why = await self._life(number, process)
            if self.stopping():
                return
            lived_s = monotonic() - began_s
            pause_s = self.pause_s(pause_s, lived_s)
            self.restarts[number] = self.restarts.get(number, 0) + 1
            log.error("worker %d %s after %.0f s; starting it again in %.1f s", number, why, lived_s, pause_s)
            await self._stopped_within(pause_s)

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        # setpriv has the kernel end the child when we end, even if we are killed.
        setpriv = shutil.which("setpriv")
        dies_with_us = (setpriv, "--pdeathsig=KILL", "--") if setpriv else ()
        return await asyncio.create_subprocess_exec(
            *dies_with_us,
            *self.commands[number],
            stdin=asyncio.subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,  # a Ctrl-C at the terminal is for the parent, who ends the children in order
        )

    async def _life(self, number: int, process: asyncio.subprocess.Process) -> str:
        """Wait for its end, which is brought about if it hangs or we stop; how it ended."""
        ended = asyncio.create_task(process.wait())
        told = asyncio.create_task(self._stopping.wait())
        hung = asyncio.create_task(self._hung(number))
        await asyncio.wait({ended, told, hung}, return_when=asyncio.FIRST_COMPLETED)
        for task in (told, hung):
            task.cancel()
        if ended.done():
            return _how(ended.result())
        if not self.stopping():
            process.kill()
            await ended
            return "hung and was killed"
        process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(ended), self.stop_s)
        except TimeoutError:
            log.warning("worker %d did not end within %.0f s and is killed", number, self.stop_s)
            process.kill()
        return _how(await ended)

    async def _hung(self, number: int) -> None:
        """Return when it has failed too many checks in a row."""
        failed, bound = 0, CHECKS_AT_START
        while failed < bound:
            await asyncio.sleep(self.check_every_s)
            if status.stalled(await asyncio.to_thread(self._report, number)):
                failed += 1
            else:
                failed, bound = 0, CHECKS

    async def _stopped_within(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def seen(self) -> list[status.Worker]:
        """How each of them is now; asked side by side, from any thread."""
        return self._each(self._see)

    def metrics(self) -> bytes:
        """The metrics of all; asked side by side, from any thread."""
        pages = self._each(lambda number: ask(status_socket(self.directory, number), "/metrics", _ASK_S))
        texts = {number: page.decode() if page is not None else None for number, page in enumerate(pages)}
        return merged(texts, dict(self.restarts))

    def _each(self, do: Callable[[int], T]) -> list[T]:
        with ThreadPoolExecutor(len(self.commands)) as pool:
            return list(pool.map(do, range(len(self.commands))))

    def _see(self, number: int) -> status.Worker:
        return status.Worker(number, accepts(envoy_socket(self.directory, number), _ASK_S), self._report(number))

    def _report(self, number: int) -> Report | None:
        answer = ask(status_socket(self.directory, number), "/status", _ASK_S)
        return None if answer is None else msgspec.json.decode(answer, type=Report)


def _how(exit_status: int) -> str:
    if exit_status < 0:
        return f"was ended by {signal.Signals(-exit_status).name}"
    return f"ended with status {exit_status}"


def pages(workers: Workers) -> Pages:
    """What the parent says of itself and its workers: for the kubelet and for Prometheus."""
    return {
        **probes(workers),
        "/metrics": lambda: Page(workers.metrics(), type_="text/plain; version=0.0.4; charset=utf-8"),
    }


def probes(workers: Workers) -> Pages:
    """For the kubelet alone."""
    return {
        "/livez": lambda: _verdict(status.why_not_live(workers.seen()), "every socket takes connections"),
        "/readyz": lambda: _verdict(
            ["it is stopping"] if workers.stopping() else status.why_not_ready(workers.seen()), "every worker decides"
        ),
    }


def _verdict(against: Sequence[str], well: str) -> Page:
    return Page("".join(f"{line}\n" for line in against or (well,)), 503 if against else 200)


def run(flags: argparse.Namespace) -> int:
    """Keep the workers that the flags ask for until a signal comes; the exit status. Raises BadStart."""
    directory = Path(flags.socket_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadStart(f"--socket-dir {directory} cannot be made: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BadStart(f"--socket-dir {directory}: no sockets can be made there; give this user write access")
    asyncio.run(_running(flags))
    return 0


async def _running(flags: argparse.Namespace) -> None:
    # gRPC's own words are not JSON, and what matters of them is in our log lines.
    environment = {"GRPC_VERBOSITY": "NONE", **os.environ}
    workers = Workers(flags.socket_dir, [worker_command(flags, number) for number in range(flags.workers)], environment)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, workers.stop)
    with ExitStack() as open_:
        for flag, address, shown in (
            ("--http", flags.http, pages(workers)),
            ("--probes", flags.probes, probes(workers)),
        ):
            if address is not None:
                open_.enter_context(_serving(flag, address, shown))
        await workers.run()


@contextmanager
def _serving(flag: str, address: str, shown: Pages) -> Iterator[None]:
    place = host_port(address)
    assert place is not None, "read_flags has looked"
    try:
        server = serve_pages(place, shown)
    except OSError as error:
        raise BadStart(f"{flag} {address}: cannot listen there: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
