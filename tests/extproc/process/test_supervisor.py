"""The parent of several workers: real processes that die, hang, do not end, and are all gone in the end."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.waiting import until

from limpet_extproc.contract.worker_status import next_pause_s
from limpet_extproc.process.flags import parse
from limpet_extproc.process.parent import worker_command
from limpet_extproc.process.settings import SERVERS, SupervisorSettings
from limpet_extproc.process.supervisor import Supervisor

pytestmark = pytest.mark.slow

ALWAYS = ["--control-plane=unix:/nonexistent/operator.sock", "--node=gateway-0", "--redis-url=redis://127.0.0.1:1"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    """What answers Envoy's calls."""
    return str(request.param)


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """Of a parent whose workers find neither operator nor Redis."""
    (tmp_path / "key").write_bytes(b"k" * 32)
    return [*ALWAYS, f"--memory-key-file={tmp_path}/key", f"--socket-dir={tmp_path}/run", "--workers=2"]


@asynccontextmanager
async def parent(flags: Sequence[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m limpet_extproc`, with its output in `log`; ended after the block."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "limpet_extproc", *flags, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def started(process: asyncio.subprocess.Process, directory: Path) -> list[psutil.Process]:
    """The workers, as soon as Envoy could reach both."""
    sockets = [directory / "run" / f"extproc-{number}.sock" for number in range(2)]
    await until(lambda: all(path.exists() for path in sockets))
    return psutil.Process(process.pid).children()


async def test_all_end_in_order_when_the_parent_gets_a_signal(flags: list[str], server: str, tmp_path: Path) -> None:
    async with parent([*flags, f"--server={server}"], tmp_path / "log") as process:
        workers = await started(process, tmp_path)
        assert len(workers) == 2
        process.terminate()
        assert await process.wait() == 0
        assert not [worker for worker in workers if worker.is_running()]
        assert not list((tmp_path / "run").glob("extproc-*.sock")), "Envoy would find sockets that nobody listens on"
    levels = [json.loads(line)["level"] for line in (tmp_path / "log").read_text().splitlines()]
    assert set(levels) == {"warning"}, "that operator and Redis are away is all that was worth a line"


async def test_the_kubelet_is_answered_at_its_own_port_while_strangers_hold_all_places_of_both(
    flags: list[str], tmp_path: Path
) -> None:
    public, probes = free_port(), free_port()
    ports = [f"--http=[::]:{public}", f"--probes=[::]:{probes}"]
    async with parent([*flags, *ports], tmp_path / "log") as process, AsyncExitStack() as stack:
        await started(process, tmp_path)
        for port in (public, probes):
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            for _ in range(10):
                assert (await client.get(f"http://127.0.0.1:{probes}/livez")).status_code == 200
                assert (await client.get(f"http://127.0.0.1:{public}/metrics")).status_code == 200
            assert (await client.get(f"http://127.0.0.1:{probes}/metrics")).status_code == 404


async def test_no_worker_outlives_a_parent_that_is_killed(flags: list[str], tmp_path: Path) -> None:
    async with parent(flags, tmp_path / "log") as process:
        workers = await started(process, tmp_path)
        process.kill()
        await process.wait()
        await until(lambda: not any(worker.is_running() for worker in workers))


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        (["--workers=0"], 2, "at least one worker is needed"),
        (["--memory-key-file=/nonexistent/key"], 2, "cannot be read: No such file or directory"),
        (["--socket-dir=/proc/self/limpet"], 2, "--socket-dir /proc/self/limpet cannot be made"),
        (["--http=127.0.0.1:{taken}"], 2, r"--http 127.0.0.1:\d+: cannot listen there: Address already in use"),
        (["--probes=127.0.0.1:{taken}"], 2, r"--probes 127.0.0.1:\d+: cannot listen there: Address already in use"),
    ],
)
async def test_an_obstacle_is_reported_before_any_worker_starts(
    more: list[str], status: int, words: str, flags: list[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        asked = [flag.format(taken=somebody.getsockname()[1]) for flag in more]
        async with parent([*flags, *asked], tmp_path / "log") as process:
            assert await process.wait() == status
    said = (tmp_path / "log").read_text()
    assert re.search(words, said)
    assert "Traceback" not in said


@given(lives=st.lists(st.floats(0, 29.9), min_size=1, max_size=20))
def test_a_worker_that_cannot_start_is_tried_less_and_less_often(lives: list[float]) -> None:
    pauses = [0.0]
    for lived_s in lives:
        pauses.append(next_pause_s(pauses[-1], lived_s))
    assert all(before < after or after == 10.0 for before, after in pairwise(pauses))
    assert max(pauses) <= 10.0
    assert next_pause_s(pauses[-1], 30.0) == 0.1, "one that has worked for long is missed"


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[None]:
    """Keep them for the block."""
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        supervisor.stop()
        await task


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


async def test_one_that_ends_is_restarted_and_the_other_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []

    def pause_s(last_s: float, _: float) -> float:
        pauses.append(last_s)
        return last_s + 0.01

    waits = python("import time; time.sleep(60)")
    supervisor = Supervisor(tmp_path, [python("raise SystemExit(3)"), waits], os.environ, pause_s)
    async with running(supervisor):
        await until(lambda: supervisor.restarts.get(0, 0) >= 3)
        assert supervisor.restarts.keys() == {0}
        assert pauses[:3] == [0.0, 0.01, 0.02]
    assert "worker 0 ended with status 3 after 0 s; starting it again in 0.0 s" in caplog.text


async def test_one_that_the_system_refuses_is_retried_and_the_other_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = python("x" * 1_000_000)
    waits = python("import time; time.sleep(60)")
    supervisor = Supervisor(tmp_path, [refused, waits], os.environ, lambda *_: 0.01)
    async with running(supervisor):
        await until(lambda: supervisor.restarts.get(0, 0) >= 2)
        assert supervisor.restarts.keys() == {0}
    assert "worker 0 could not be started (Argument list too long) after 0 s" in caplog.text


async def test_one_that_does_not_report_is_killed_and_restarted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = python("import time; time.sleep(60)")
    supervisor = Supervisor(tmp_path, [silent], os.environ, lambda *_: 0.0, check_every_s=0.002)
    async with running(supervisor):
        await until(lambda: supervisor.restarts.get(0, 0) >= 1)
    assert "worker 0 hung and was killed" in caplog.text


async def test_one_that_ignores_the_signal_to_end_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ready = tmp_path / "ready"
    deaf = python(
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    supervisor = Supervisor(tmp_path, [deaf], os.environ, stop_s=0.1)
    async with running(supervisor):
        await until(ready.exists)
        deaf_one = psutil.Process(supervisor.pid(0))
    assert not deaf_one.is_running()
    assert "did not end within 0 s and is killed" in caplog.text


async def test_the_pages_of_workers_that_run(flags: list[str], server: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    settings = parse([*flags, f"--server={server}"])
    assert isinstance(settings, SupervisorSettings)
    commands = [worker_command(settings.worker(number)) for number in range(2)]
    supervisor = Supervisor(settings.socket_dir, commands, os.environ)
    async with running(supervisor):
        await until(lambda: all(worker.accepts and worker.report for worker in supervisor.statuses()))
        assert [worker.report.revision for worker in supervisor.statuses() if worker.report] == [None, None]
        page = supervisor.metrics().decode()
        assert 'limpet_worker_up{worker="1"} 1.0' in page
        assert 'limpet_catalog_connected{worker="0"} 0.0' in page
        os.kill(supervisor.pid(0), signal.SIGSTOP)
        try:
            frozen, well = supervisor.statuses()
            assert (frozen.report, well.report is not None) == (None, True)
            assert 'limpet_worker_up{worker="0"} 0.0' in supervisor.metrics().decode()
        finally:
            os.kill(supervisor.pid(0), signal.SIGCONT)
    assert not any(worker.accepts for worker in supervisor.statuses())
