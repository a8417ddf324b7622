"""What `wrk` measured: its command line, its answer, and the latencies as they really were.

wrk 4 always "corrects for coordinated omission" before it hands its numbers to a script: for each sample x of at
least twice the mean time between two requests of a connection it adds x - mean, x - 2·mean, … as if requests had been
due then. That is right for a client that sends at a fixed pace and wrong for a closed loop like ours, where the next
request is only due after the answer: it would mix numbers that nobody measured into p50 and p99. The script hands over
the whole histogram and `measured` takes the additions out again, exactly: the largest samples had nothing added.
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

SCRIPT: Final = "latency_wrk.lua"
_MARK: Final = "limpet-bench "


class WrkError(Exception):
    """wrk is missing, or failed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: the bodies `0.json` … in a folder, by so many connections, for so long."""

    bodies: Path
    number: int
    connections: int
    seconds: int
    first_session: int | None = None
    """Not None: every request is of the next conversation, by `x-session-id`; the first is one more than this."""
    sessions: int | None = None
    """With `first_session`: after so many conversations they begin again at 1. None: never."""


@dataclass(frozen=True, slots=True)
class WrkRun:
    """One run of wrk. `latency` counts the answers by microseconds."""

    requests: int
    failed: int
    """Answers of status 400 and above, and connections that could not be made, broke or timed out."""
    duration_s: float
    latency: Mapping[int, int]

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.requests / self.duration_s

    def percentile_ms(self, percent: float) -> float:
        """The smallest latency that so many percent of the answers did not exceed. Raises ValueError without any."""
        return percentile(self.latency, percent) / 1000


class _Output(msgspec.Struct):
    requests: int
    duration_us: int
    socket_errors: int
    bad_statuses: int
    latency: list[tuple[int, int]]


def find_wrk(path: str | None = None) -> str:
    """The program, looked for in `path` (default: this process's own). Raises WrkError with how to install it."""
    found = shutil.which("wrk", path=path)
    if found is None:
        raise WrkError(
            "the load generator 'wrk' is not installed: 'apt-get install wrk' brings it on Debian and Ubuntu, "
            "'make bench' does that for you"
        )
    return found


def percentile(counts: Mapping[int, int], percent: float) -> int:
    """Nearest rank: the smallest value with at least `percent` of all counts at or below it.

    Raises ValueError if there are none.
    """
    total = sum(counts.values())
    if not total:
        raise ValueError("no answers, so no percentiles")
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen * 100 >= percent * total:
            break
    return value


def measured(corrected: Mapping[int, int], interval_us: int) -> dict[int, int]:
    """The samples without those that wrk's correction with this interval added.

    Raises WrkError if the histogram cannot have come from that correction.
    """
    counts = dict(corrected)
    # From above: only larger samples had something added for them, and those are final by then.
    for value in sorted(corrected, reverse=True):
        if value < 2 * interval_us:
            break
        for added in range(value - interval_us, interval_us, -interval_us):
            counts[added] = counts.get(added, 0) - counts[value]
            if counts[added] < 0:
                raise WrkError(f"wrk's latencies are not corrected by {interval_us} µs: is this wrk 4?")
    return {value: count for value, count in counts.items() if count}


def parse(output: str, connections: int) -> WrkRun:
    """What a run printed. Raises WrkError if the script's line is missing or its counts do not agree."""
    line = next((line for line in output.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        raise WrkError(f"wrk ended without its results; its output:\n{output.strip()}")
    found = msgspec.json.decode(line.removeprefix(_MARK), type=_Output)
    latency = dict(found.latency)
    each = found.requests // connections
    if each:
        latency = measured(latency, found.duration_us // each)
    if not found.socket_errors and sum(latency.values()) != found.requests:
        raise WrkError(f"wrk counted {found.requests} answers and {sum(latency.values())} latencies: is this wrk 4?")
    # wrk does not count what hangs for less than its timeout: no answer at all must not pass for no failure.
    failed = found.socket_errors + found.bad_statuses or (0 if found.requests else connections)
    return WrkRun(found.requests, failed, found.duration_us / 1e6, latency)


async def run(wrk: str, url: str, load: Load) -> WrkRun:
    """Load `url`; one thread, since more would take the machine from what is measured. Raises WrkError."""
    session = [str(each) for each in (load.first_session, load.sessions) if each is not None]
    process = await asyncio.create_subprocess_exec(
        wrk,
        "--threads=1",
        f"--connections={load.connections}",
        f"--duration={load.seconds}s",
        "--timeout=10s",
        f"--script={files(__package__).joinpath(SCRIPT)}",
        url,
        "--",
        str(load.bodies),
        str(load.number),
        *session,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return parse(output.decode(errors="replace"), load.connections)
