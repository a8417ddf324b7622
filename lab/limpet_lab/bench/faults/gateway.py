"""One gateway of the bed: Envoy, its ext_proc workers under their parent, and its replica of the operator."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import psutil

from limpet_lab.bench.faults.decision_times import Buckets, read_buckets
from limpet_lab.bench.faults.extproc import CLOCK_VARIABLE, PROGRAM
from limpet_lab.bench.faults.operator import Condition, Conditions
from limpet_lab.bench.faults.places import WORKERS, GatewayPlace, OperatorOrder
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.keeper import ask
from limpet_operator.laptop.local import EXTPROC_ENVIRONMENT
from limpet_operator.laptop.machine import envoy_command
from limpet_operator.publish.bootstrap import bootstrap
from limpet_operator.publish.overload import HEAP_BYTES

_READY_S: Final = 60.0
_POLL_S: Final = 0.05


class FaultGateway:
    """Its processes, and what is done to them."""

    def __init__(self, place: GatewayPlace, clock: Path, extproc_flags: Sequence[str]) -> None:
        """`clock`: the file by which the workers' clock is set; `extproc_flags`: further flags of theirs."""
        self.place = place
        self.children = Children(Path(place.folder))
        self._clock = clock
        self._extproc_flags = extproc_flags

    async def start(self, order: OperatorOrder) -> None:
        """Start all programs; nothing is waited for."""
        place = self.place
        await self.start_operator(order)
        await self.children.start(
            "ext_proc",
            [
                *(sys.executable, "-m", PROGRAM, *self._extproc_flags),
                *(f"--socket-dir={place.folder}", f"--workers={WORKERS}", f"--http=127.0.0.1:{place.pages_port}"),
                *(f"--control-plane={place.operator}", f"--node={place.name}"),
            ],
            env={**EXTPROC_ENVIRONMENT, **os.environ, CLOCK_VARIABLE: str(self._clock)},
        )
        await self.children.start("envoy", envoy_command(_bootstrap(place), "--concurrency", "1"))

    async def start_operator(self, order: OperatorOrder) -> None:
        """Start the replica of the operator, for the first time or after it was killed."""
        text = msgspec.json.encode(order).decode()
        await self.children.start("operator", [sys.executable, "-m", "limpet_lab.bench.faults.operator", text])

    async def kill_operator(self) -> None:
        """End it as a machine that dies would."""
        self.children.kill("operator")
        await self.children.wait("operator")

    async def ready(self) -> None:
        """Return when Envoy listens and every worker decides. Raises ChildDied, and TimeoutError after a minute."""
        await self.children.until(self._serving(), _READY_S)

    async def _serving(self) -> None:
        await polled(self.deciding)
        await polled(self._listening)

    async def deciding(self) -> bool:
        """Whether every worker decides and Envoy sends it requests."""
        stats = await ask(self.place.admin, "/stats?filter=limpet_extproc.membership_healthy") or b""
        return f": {WORKERS}\n".encode() in stats and await self._page("/readyz") is not None

    async def memory_is_up(self) -> bool:
        """Whether every worker asks the shared memory."""
        page = await self._page("/metrics") or ""
        values = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith("limpet_memory_up")]
        return len(values) == WORKERS and all(float(value) == 1 for value in values)

    async def _listening(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.place.port)
        except OSError:
            return False
        writer.close()
        return True

    async def decision_times(self) -> Buckets:
        """How long its workers took for all decisions so far."""
        return read_buckets(await self._page("/metrics") or "")

    async def _page(self, path: str) -> str | None:
        """A page of the workers' parent; None if it does not answer, or with an error."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.place.pages_port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        except OSError:
            return None
        return body.decode() if b" 200 " in head.split(b"\r\n", 1)[0] else None

    def workers(self) -> list[psutil.Process]:
        """The worker processes, by their age."""
        return psutil.Process(self.children.pid("ext_proc")).children()

    def signal_worker(self, number: signal.Signals) -> None:
        """Send a signal to the first worker."""
        self.workers()[0].send_signal(number)

    def kill_workers(self) -> None:
        """End all workers at once; their parent starts others."""
        for worker in self.workers():
            with suppress(psutil.NoSuchProcess):
                worker.kill()

    def condition(self, provider: str, type_: str) -> Condition | None:
        """What the operator's status last said; None: nothing about this."""
        try:
            conditions = msgspec.json.decode(self.place.status.read_bytes(), type=Conditions)
        except (OSError, msgspec.DecodeError):
            return None
        return conditions.get(provider, {}).get(type_)


def _bootstrap(place: GatewayPlace) -> Path:
    control_plane, admin = (
        {"pipe": {"path": path}} for path in (place.operator.removeprefix("unix:"), str(place.admin))
    )
    config = Path(place.folder, "envoy.json")
    config.write_text(json.dumps(bootstrap(place.name, control_plane, admin, HEAP_BYTES)))
    return config


async def polled(so: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as it is so."""
    while not await so():  # noqa: ASYNC110 - there is nothing to wait on
        await asyncio.sleep(_POLL_S)
