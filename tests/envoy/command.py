"""`limpet up` as a user runs it: its own process, over a directory of YAML, with its output line by line."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil
import yaml
from tests.waiting import TIMEOUT_S, until

from limpet_operator.laptop.machine import free_port

_STATE: Final = str(Path(tempfile.gettempdir()) / "limpet-tests-state")
"""Not the user's own: what stories spend is in no ledger of theirs."""


@dataclass
class Command:
    """A running `limpet up`."""

    process: asyncio.subprocess.Process
    port: int
    metrics_port: int
    lines: list[str] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """The base URL that it prints."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def output(self) -> str:
        """Its output up to now."""
        return "\n".join(self.lines)

    async def says(self, words: str) -> str:
        """The first line with these words in it, as soon as there is one."""

        async def said() -> bool:
            return any(words in line for line in self.lines) or self.process.returncode is not None

        try:
            await until(said, f"the line {words!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.output}") from None
        found = next((line for line in self.lines if words in line), None)
        assert found is not None, f"it ended and never said {words!r}:\n{self.output}"
        return found

    async def ended(self) -> int:
        """Its exit status, as soon as it has one."""
        return await asyncio.wait_for(self.process.wait(), TIMEOUT_S)

    async def stop(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return await self.ended()

    def children(self) -> list[psutil.Process]:
        """Everything it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, words: str) -> psutil.Process:
        """The child whose command line has these words in it."""
        return next(child for child in self.children() if any(words in part for part in child.cmdline()))

    @classmethod
    @asynccontextmanager
    async def up(
        cls,
        directory: Path,
        *flags: str,
        listen: str = "127.0.0.1",
        port: int | None = None,
        metrics_port: int | None = None,
        env: Mapping[str, str] | None = None,
        activity: bool = False,
    ) -> AsyncIterator[Self]:
        """Run it; whatever the story left is ended. `listen` is the host, as it is written before the port.

        `activity`: with the service that few stories are about, and that takes a second to start.
        """
        port, metrics_port = port or free_port(), metrics_port or two_free_ports()
        program = [str(Path(sys.executable).with_name("limpet")), "up", str(directory)]
        places = [f"--listen={listen}:{port}", f"--metrics-port={metrics_port}"]
        process = await asyncio.create_subprocess_exec(
            *program,
            *places,
            *(() if activity else ("--no-activity",)),
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1", "XDG_STATE_HOME": _STATE, **(env or {})},
        )
        command = cls(process, port, metrics_port)
        reading = asyncio.create_task(command._read())
        try:
            yield command
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
            await reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())


def write(directory: Path, file: str, objects: Sequence[Mapping[str, Any]]) -> None:
    """A file as an editor saves it: written beside its place and moved there."""
    beside = directory / f".{file}.part"
    beside.write_text(yaml.safe_dump_all([dict(each) for each in objects]))
    beside.replace(directory / file)


def two_free_ports() -> int:
    """The first of two neighbours: the data plane's metrics are on the second."""
    while True:
        port = free_port()
        if port < 65535 and not any(c.laddr.port == port + 1 for c in psutil.net_connections("tcp") if c.laddr):
            return port
