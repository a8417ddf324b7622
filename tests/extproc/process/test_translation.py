"""The translator of a worker: started when it is needed, again when it has ended or hangs, ended with its worker."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.waiting import until

from limpet_extproc.envoy.h2_frames import PREFACE
from limpet_extproc.process.settings import SERVERS
from limpet_extproc.process.translation import keep_translator, translator_command, translator_listener

HANGS = (
    sys.executable,
    "-c",
    "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(99)",
)


Command = tuple[str, ...]


@pytest.fixture(params=SERVERS)
def command(request: pytest.FixtureRequest) -> Command:
    """With either server."""
    return translator_command(request.param)


@asynccontextmanager
async def kept(path: Path, command: Sequence[str], silence_s: float = 60.0) -> AsyncIterator[asyncio.Event]:
    expected = asyncio.Event()
    with translator_listener(path) as listening:
        keeping = asyncio.create_task(keep_translator(listening, expected, command, silence_s))
        try:
            yield expected
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


async def answered(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(PREFACE)
    try:
        return await reader.read(9)
    finally:
        writer.close()


def children() -> list[int]:
    """Running translators of this process."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, found) if b"process.translator" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_it_starts_with_the_first_connection_and_ends_with_its_worker(command: Command, tmp_path: Path) -> None:
    async with kept(tmp_path / "t.sock", command):
        assert children() == []
        assert await answered(tmp_path / "t.sock")
        assert len(children()) == 1
    assert children() == []


async def test_one_that_is_expected_waits_for_no_connection(command: Command, tmp_path: Path) -> None:
    async with kept(tmp_path / "t.sock", command) as expected:
        expected.set()

        async def runs() -> bool:
            return len(children()) == 1

        await until(runs, "a start")
    assert children() == []


async def test_one_that_died_is_started_again_and_a_call_waits_for_it(command: Command, tmp_path: Path) -> None:
    async with kept(tmp_path / "t.sock", command):
        await answered(tmp_path / "t.sock")
        (first,) = children()
        os.kill(first, signal.SIGKILL)
        assert await answered(tmp_path / "t.sock")
        (second,) = children()
        assert first != second


async def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = (*HANGS, str(started))
    async with kept(tmp_path / "t.sock", command, silence_s=0.2):
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(tmp_path / "t.sock"))

            async def twice() -> bool:
                return started.exists() and len(started.read_text().split()) > 1

            await until(twice, "a second start")
    for pid in started.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_path_that_cannot_be_a_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        translator_listener(tmp_path / ("x" * 120))
