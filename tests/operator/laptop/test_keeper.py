"""The local gateway's ext_proc is started again when it ends or hangs; the end of another child is not the keeper's."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from limpet_extproc.contract.worker_status import WorkerReport
from limpet_operator.laptop.children import ChildDied, Children
from limpet_operator.laptop.keeper import ask, ask_worker, keep

_FOREVER = [sys.executable, "-c", "import time; time.sleep(600)"]
_WELL = WorkerReport("r1", None, 0.0)


class _World:
    """A child called weak beside one called steady, and the lines about them."""

    def __init__(self, directory: Path) -> None:
        self.children = Children(directory)
        self.starts = 0
        self.lines: list[str] = []

    async def start(self) -> None:
        self.starts += 1
        await self.children.start("weak", _FOREVER)

    async def kept(self, report: Callable[[], Awaitable[WorkerReport | None]], until: Callable[[], bool]) -> None:
        """Keep it until a condition holds."""
        await self.children.start("steady", _FOREVER)
        await self.start()
        keeping = asyncio.create_task(
            keep(self.children, "weak", self.start, report, self.lines.append, "all rest", _soon)
        )
        try:
            while not until() and not keeping.done():  # noqa: ASYNC110 (a file or a count sets no event)
                await asyncio.sleep(0.01)
            if keeping.done():
                await keeping
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError, ChildDied):
                await keeping
            await self.children.stop()


async def _soon(seconds: float) -> None:
    """A sleep in which a second is a hundredth."""
    await asyncio.sleep(seconds / 100)


async def _well() -> WorkerReport | None:
    return _WELL


async def test_one_that_ends_is_started_again_with_a_line_about_it(tmp_path: Path) -> None:
    world = _World(tmp_path)
    killed: list[int] = []

    def seen() -> bool:
        if not killed:
            killed.append(world.children.pid("weak"))
            world.children.kill("weak")
        return world.starts == 2

    await world.kept(_well, seen)
    (line,) = world.lines
    assert "weak ended with status -9" in line
    assert line.endswith("weak is started again in 0.1 s; until it decides, all rest")


async def test_one_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    world = _World(tmp_path)
    answers = [_WELL, *[None] * 5]

    async def report() -> WorkerReport | None:
        return answers.pop(0) if answers else _WELL

    await world.kept(report, lambda: world.starts == 2)
    assert world.lines[0] == "weak hangs and is killed"


async def test_one_that_misses_a_few_checks_is_left_alone(tmp_path: Path) -> None:
    world = _World(tmp_path)
    answers = [_WELL, None, None, None, None, _WELL, None, None, None, None, _WELL]

    async def report() -> WorkerReport | None:
        return answers.pop(0) if answers else _WELL

    await world.kept(report, lambda: not answers)
    assert world.starts == 1
    assert not world.lines


async def test_another_child_that_ends_is_the_callers_affair(tmp_path: Path) -> None:
    world = _World(tmp_path)

    killed: list[str] = []

    def seen() -> bool:
        if not killed:
            killed.append("steady")
            world.children.kill("steady")
        return False

    with pytest.raises(ChildDied, match="steady ended with status -9"):
        await world.kept(_well, seen)


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n" + b'{"revision":"r1","why":null,"turned_s_ago":0.0}', _WELL),
        (b"HTTP/1.0 500 Oh\r\n\r\n{}", None),
        (b"HTTP/1.0 200 OK\r\n\r\nno JSON", None),
        (b"", None),
    ],
)
async def test_a_worker_is_asked_on_its_socket(tmp_path: Path, answer: bytes, report: WorkerReport | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"GET /status ")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    async with server:
        assert await ask_worker(tmp_path / "s") == report


async def test_a_socket_that_is_not_there_gives_no_answer(tmp_path: Path) -> None:
    assert await ask(tmp_path / "s", "/status") is None
