"""`python -m limpet_operator` as a process of the test's own, with everything it listens on."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.program import Program
from limpet_operator.laptop.machine import free_port

PATIENCE_S = 60.0


@dataclass(slots=True)
class Operator:
    """One replica."""

    program: Program
    address: str
    """Where its gRPC server is."""
    http: str

    @classmethod
    @contextmanager
    def running(
        cls, server: ApiServer, directory: Path, *flags: str, kubeconfig: Path | None = None, listen: str = ""
    ) -> Iterator[Self]:
        """Started, not waited for; ended with the block."""
        directory.mkdir(exist_ok=True)
        port = free_port()
        listen = listen or f"unix:{directory}/operator.sock"
        command: Sequence[str] = (
            *(sys.executable, "-m", "limpet_operator"),
            *("--kubeconfig", str(kubeconfig or server.kubeconfig)),
            *("--listen", listen, "--http", f"127.0.0.1:{port}", "--drain-seconds", "0.2", *flags),
        )
        operator = cls(Program("operator", command, directory / "operator.log"), listen, f"http://127.0.0.1:{port}")
        operator.program.start()
        try:
            yield operator
        finally:
            operator.program.stop()

    async def ready(self) -> None:
        """Return once it is ready; AssertionError, with the end of its log, if it never is."""
        await self.answers("/readyz", 200)

    async def answers(self, path: str, status: int, words: str = "") -> str:
        """The response at this path, once it has this status and contains these words."""
        deadline = time.monotonic() + PATIENCE_S
        said = "nothing"
        async with httpx.AsyncClient(base_url=self.http) as client:
            while time.monotonic() < deadline and self.program.alive():
                try:
                    answer = await client.get(path)
                except httpx.TransportError as error:
                    said = repr(error)
                else:
                    said = answer.text
                    if answer.status_code == status and words in said:
                        return said
                await asyncio.sleep(0.05)
        raise AssertionError(f"{path} never said {status} {words!r} but: {said}\n{self.program.log_tail()}")

    def log(self) -> list[dict[str, Any]]:
        """All it has logged; every line is an object."""
        return [msgspec.json.decode(line) for line in self.program.log.read_bytes().splitlines()]

    def logged(self, words: str) -> list[str]:
        """The messages in which these words are."""
        return [entry["message"] for entry in self.log() if words in entry["message"]]

    async def until_logged(self, words: str) -> str:
        """The first message with these words, once it is there."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.logged(words)):
            assert time.monotonic() < deadline, f"it never said {words!r}:\n{self.program.log_tail()}"
            await asyncio.sleep(0.05)
        return found[0]
