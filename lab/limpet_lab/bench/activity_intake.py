"""Records on the way that they take in an installation: workers' batches by gRPC to the service, and into its store."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from limpet_activity.store.port import ActivityStore
from limpet_extproc.contract.activity import ActivityBatch, encode_batch
from limpet_extproc.operator_link.activity_channel import ActivityChannel, TakingError
from limpet_lab.bench.activity_rows import batches, busy_records

_WORKERS: Final = 4
"""Each has one batch under way, as workers have."""
_START_S: Final = 60.0
_PAUSE_S: Final = 0.2


class IntakeFigures(NamedTuple):
    """Of some records that the service took."""

    rows: int
    rows_per_s: float
    service_us: float
    """Processor time a record of the service, as the next ones."""
    database_us: float
    clients_us: float


class IntakeError(Exception):
    """The service does not start, or does not keep what it took; the text says why."""


def measure_intake(url: str, store: ActivityStore, rows: int, database_cpu_s: Callable[[], float]) -> IntakeFigures:
    """Hand over so many to a service of this database, as fast as it takes them; `store` is of the same database."""
    found = list(batches(busy_records(rows, time.time())))
    before = store.last_number()
    with _service(url) as (process, place):
        service_s, database_s, clients_s = _cpu_s(process), database_cpu_s(), time.process_time()
        began = time.perf_counter()
        asyncio.run(_hand_over(place, found))
        took_s = time.perf_counter() - began
        used = (_cpu_s(process) - service_s, database_cpu_s() - database_s, time.process_time() - clients_s)
    kept = store.last_number() - before
    if kept != rows:
        raise IntakeError(f"{kept:,} of {rows:,} records were kept")
    return IntakeFigures(rows, rows / took_s, *(each / rows * 1e6 for each in used))


@contextmanager
def _service(url: str) -> Iterator[tuple[psutil.Process, str]]:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        place, log = f"unix:{folder}/activity.sock", Path(folder) / "log"
        words = [sys.executable, "-m", "limpet_activity", "--store", url, "--listen", place, "--log-level", "warning"]
        with log.open("wb") as output:
            started = subprocess.Popen(words, stdout=output, stderr=output)  # noqa: S603
        try:
            latest = time.monotonic() + _START_S
            while not Path(place.removeprefix("unix:")).exists():
                if started.poll() is not None or time.monotonic() > latest:
                    raise IntakeError(f"limpet-activity does not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield psutil.Process(started.pid), place
        finally:
            started.terminate()
            started.wait()


async def _hand_over(place: str, found: Sequence[ActivityBatch]) -> None:
    async def worker(number: int) -> None:
        channel = ActivityChannel(place, None)
        for batch in found[number::_WORKERS]:
            await _send(channel, encode_batch(batch))
        await channel.close()

    await asyncio.gather(*map(worker, range(_WORKERS)))


async def _send(channel: ActivityChannel, data: bytes) -> None:
    """Until it is taken, as workers do."""
    while True:
        try:
            return await channel.send(data)
        except TakingError as error:
            if error.final:
                raise IntakeError(str(error)) from error
            await asyncio.sleep(_PAUSE_S)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
