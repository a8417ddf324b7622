"""The parent process of several workers: supervises them, and serves their probes and metrics."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.contract.worker_status import why_not_live, why_not_ready
from limpet_extproc.process.local_http import Response, Routes, serve_http
from limpet_extproc.process.settings import SupervisorSettings, WorkerSettings
from limpet_extproc.process.start_error import StartError, listening
from limpet_extproc.process.steady_clock import clock_zero_s
from limpet_extproc.process.supervisor import Supervisor

PROGRAM: Final = "limpet_extproc"
"""The module of our own workers; the lab has others."""


def run(settings: SupervisorSettings, program: str = PROGRAM) -> int:
    """Keep the workers of these settings running until a signal comes; the exit status. Raises StartError.

    `program` is the module that a worker runs.
    """
    directory = settings.socket_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"--socket-dir {directory} cannot be made: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StartError(f"--socket-dir {directory}: no sockets can be made there; give this user write access")
    asyncio.run(_run(settings, program))
    return 0


async def _run(settings: SupervisorSettings, program: str) -> None:
    # gRPC's own log lines are not JSON, and what matters of them is in ours.
    environment = {"GRPC_VERBOSITY": "NONE", **os.environ}
    zero_s = clock_zero_s()
    workers = [replace(settings.worker(number), clock_zero_s=zero_s) for number in range(settings.workers)]
    commands = [worker_command(worker, program) for worker in workers]
    supervisor = Supervisor(settings.socket_dir, commands, environment)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
    with ExitStack() as stack:
        if settings.http is not None:
            stack.enter_context(_serving("--http", settings.http, _pages(supervisor)))
        if settings.probes is not None:
            stack.enter_context(_serving("--probes", settings.probes, _probes(supervisor)))
        await supervisor.run()


def worker_command(settings: WorkerSettings, program: str = PROGRAM) -> list[str]:
    """The command that starts a worker."""
    return [sys.executable, "-m", program, *settings.to_argv()]


@contextmanager
def _serving(flag: str, address: HostPort, routes: Routes) -> Iterator[None]:
    with listening(flag, address):
        server = serve_http(address, routes)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _pages(supervisor: Supervisor) -> Routes:
    """For the kubelet and for Prometheus."""
    return {
        **_probes(supervisor),
        "/metrics": lambda: Response(supervisor.metrics(), type_="text/plain; version=0.0.4; charset=utf-8"),
    }


def _probes(supervisor: Supervisor) -> Routes:
    """For the kubelet alone."""

    def live() -> Response:
        return _page(why_not_live(supervisor.statuses()), "every socket takes connections")

    def ready() -> Response:
        if supervisor.stopping():
            return Response("it is stopping\n", 503)
        return _page(why_not_ready(supervisor.statuses()), "every worker decides")

    return {"/livez": live, "/readyz": ready}


def _page(problems: Sequence[str], if_none: str) -> Response:
    return Response("".join(f"{line}\n" for line in problems or (if_none,)), 503 if problems else 200)
