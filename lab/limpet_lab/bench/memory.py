"""`limpet bench memory`: what the shared memory costs: the time of a lookup, and Redis's memory for a conversation.

Its own redis-server on loopback is filled through the memory itself, by the script that workers write with. Then
lookups and bare GETs of the same keys by the same client library take turns, one at a time and many at once.
"""

import asyncio
import gc
import json
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from shutil import which
from typing import Annotated, Any, Final

import typer
import uvloop
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from xxhash import xxh3_128_digest

from limpet_extproc.decision.prefix import FIRST_MESSAGE, HASH_BYTES
from limpet_extproc.memory import ServedTurn, Warm
from limpet_extproc.memory.redis.layout import redis_key
from limpet_extproc.memory.redis.redis_memory import RedisMemory, open_memory
from limpet_lab.demo.json_file import JsonFile
from limpet_operator.laptop.children import dies_with_parent
from limpet_operator.laptop.machine import free_port

BAR_BYTES: Final = 450.0
BAR_RATIO: Final = 2.0

_PROVIDERS: Final = tuple(f"team-{number}/deepseek-in-region-{number}" for number in range(4))
_LAST_TURN: Final = 4
_BOUNDARIES: Final = FIRST_MESSAGE + 2 * _LAST_TURN
_AT_ONCE: Final = 32
_CHUNK: Final = 2_000
_ROUNDS: Final = 20
_TURNS: Final = 500
_START_S: Final = 30.0
_ANY_TIME_S: Final = 60.0
_MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class LookupTimes:
    """How long one lookup took, and how many a second were answered when many were under way at once."""

    p50_us: float
    p99_us: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Size:
    """What Redis needed for so many conversations that are warm at so many providers."""

    warm: int
    conversations: int
    bytes_each: float
    rss_mb: float
    fill_s: float


Lookup = Callable[[bytes], Awaitable[object]]


def memory(
    conversations: Annotated[
        int, typer.Option(help="Conversations in Redis while it is measured.", min=10_000)
    ] = 100_000,
    json_file: JsonFile = None,
) -> None:
    """Measure what the shared memory in Redis costs: time of a lookup, bytes of a conversation."""
    console = Console()
    if which("redis-server") is None:
        console.print("This needs redis-server on the PATH: apt-get install redis-server, or your system's way.")
        raise typer.Exit(2)
    sizes, lookup, get = uvloop.run(_measure(conversations, console.print))
    ratio = lookup.p50_us / get.p50_us
    largest = max(size.bytes_each for size in sizes)
    console.print(_sizes(sizes))
    console.print(_times_table(lookup, get))
    console.print(
        f"A conversation takes at most {largest:.0f} bytes; ≤ {BAR_BYTES:.0f} {_outcome(largest, BAR_BYTES)}."
    )
    console.print(f"A lookup takes {ratio:.2f} times a bare GET; ≤ {BAR_RATIO:.0f} {_outcome(ratio, BAR_RATIO)}.")
    if json_file:
        figures = {
            "conversations": conversations,
            "sizes": [_rounded(asdict(size)) for size in sizes],
            "bytes_per_conversation_max": round(largest, 1),
            "lookup": _rounded(asdict(lookup)),
            "bare_get": _rounded(asdict(get)),
            "lookup_to_get_p50": round(ratio, 3),
            "lookup_to_get_p99": round(lookup.p99_us / get.p99_us, 3),
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if largest > BAR_BYTES or ratio > BAR_RATIO:
        raise typer.Exit(1)


def _outcome(figure: float, bar: float) -> str:
    return "holds" if figure <= bar else "missed"


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(figure, 1) if isinstance(figure, float) else figure for name, figure in figures.items()}


async def _measure(conversations: int, say: Callable[[str], None]) -> tuple[list[Size], LookupTimes, LookupTimes]:
    with redis_server() as port:
        async with Redis(port=port) as redis, opened(port, _PROVIDERS) as shared:
            sizes = []
            for warm in (4, 2, 1):
                say(f"{conversations:,} conversations, each warm at {warm} of 4 providers …")
                sizes.append(await _fill(shared, redis, conversations, warm))
            say("lookups and bare GETs in turn …")

            async def lookup(key: bytes) -> None:
                if await shared.lookup(key, _NOW_S) is None:
                    raise RuntimeError("a conversation that was written is not there")

            async def get(key: bytes) -> None:
                await redis.get(redis_key(key))

            return sizes, *await _race(conversations, lookup, get)


_NOW_S: Final = 1.7e9 + 0.123
"""Any time of our days: what counts is how many bytes it takes."""


async def _fill(shared: RedisMemory, redis: Redis, conversations: int, warm: int) -> Size:
    """Fill an empty Redis through the memory, and read what that took of it."""
    await redis.flushall()
    before = (await redis.info("memory"))["used_memory"]
    began = time.monotonic()
    keys = _keys(conversations)
    while chunk := list(islice(keys, _CHUNK)):
        for key in chunk:
            chain = key * (_BOUNDARIES * HASH_BYTES // len(key) + 1)
            for turn in range(1, _LAST_TURN + 1):
                provider = _PROVIDERS[max(0, turn - 1 - _LAST_TURN + warm)]
                begun = chain[: HASH_BYTES * (FIRST_MESSAGE - 1 + 2 * turn)]
                served = ServedTurn(_NOW_S + 7.7 * turn, 123_456 + turn, 321 + turn, "hit")
                shared.remember(key, Warm(provider, _NOW_S + 3600, 123_456, 120_000, begun), 4, _NOW_S, served)
        await shared.written()
    fill_s = time.monotonic() - began
    stored, info = await redis.dbsize(), await redis.info("memory")
    if stored != conversations:
        raise RuntimeError(
            f"{stored:,} of {conversations:,} conversations were stored; are other processes in the way?"
        )
    return Size(warm, stored, (info["used_memory"] - before) / stored, info["used_memory_rss"] / _MB, fill_s)


def _keys(conversations: int) -> Iterator[bytes]:
    return (xxh3_128_digest(number.to_bytes(8, "big")) for number in range(conversations))


async def _race(conversations: int, lookup: Lookup, get: Lookup) -> tuple[LookupTimes, LookupTimes]:
    """Both in turn, so that whatever else the machine does falls on both."""
    keys = list(islice(_keys(conversations), _TURNS))
    times: dict[Lookup, list[float]] = {lookup: [], get: []}
    busy_s: dict[Lookup, float] = {lookup: 0.0, get: 0.0}
    for ask in (lookup, get):
        await _one_by_one(ask, keys)
    gc.collect()
    gc.freeze()  # as a worker does when its catalog has come
    for _ in range(_ROUNDS):
        for ask in (lookup, get):
            times[ask] += await _one_by_one(ask, keys)
        for ask in (lookup, get):
            busy_s[ask] += await _many(ask, keys)
    return _times(times[lookup], busy_s[lookup]), _times(times[get], busy_s[get])


async def _one_by_one(ask: Lookup, keys: list[bytes]) -> list[float]:
    took_s = []
    for key in keys:
        began = time.perf_counter()
        await ask(key)
        took_s.append(time.perf_counter() - began)
    return took_s


async def _many(ask: Lookup, keys: list[bytes]) -> float:
    began = time.perf_counter()
    remaining = iter(keys)

    async def one_after_another() -> None:
        for key in remaining:
            await ask(key)

    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))
    return time.perf_counter() - began


def _times(times_s: list[float], busy_s: float) -> LookupTimes:
    ordered = sorted(times_s)
    p50, p99 = (ordered[int(len(ordered) * part)] * 1e6 for part in (0.5, 0.99))
    return LookupTimes(p50, p99, _ROUNDS * _TURNS / busy_s)


@contextmanager
def redis_server() -> Iterator[int]:
    """The port of a redis-server that keeps nothing on disk."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as directory:
        server = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory]
        command = [*dies_with_parent(), *server]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - a fixed command
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def opened(port: int, providers: Collection[str]) -> AsyncIterator[RedisMemory]:
    """The memory of gateways with these providers, once Redis answers; with a deadline that is never reached.

    Raises TimeoutError if Redis does not answer.
    """
    await answering(port)
    registry = CollectorRegistry()
    url = f"redis://127.0.0.1:{port}"
    shared = open_memory(url, providers=lambda: providers, registry=registry, deadline_s=_ANY_TIME_S)
    await shared.start()
    try:
        yield shared
    finally:
        await shared.close()


async def answering(port: int) -> None:
    """Return when the Redis at this port answers. Raises TimeoutError."""
    async with asyncio.timeout(_START_S):
        while not await _answers(port):  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.05)


async def _answers(port: int) -> bool:
    async with Redis(port=port) as redis:
        try:
            return bool(await redis.ping())
        except RedisConnectionError:
            return False


def _sizes(sizes: list[Size]) -> Table:
    shown = Table(title=f"{sizes[0].conversations:,} conversations in Redis", box=SIMPLE)
    for name in ("warm providers", "bytes each", "Redis RSS, MB", "seconds to write"):
        shown.add_column(name, justify="right")
    for size in sizes:
        shown.add_row(str(size.warm), f"{size.bytes_each:.0f}", f"{size.rss_mb:.0f}", f"{size.fill_s:.1f}")
    return shown


def _times_table(lookup: LookupTimes, get: LookupTimes) -> Table:
    shown = Table(title=f"alone, and {_AT_ONCE} at once", box=SIMPLE)
    for name in ("", "p50 µs", "p99 µs", "per second at once"):
        shown.add_column(name, justify="right" if name else "left")
    for name, pace in (("lookup", lookup), ("bare GET", get)):
        shown.add_row(name, f"{pace.p50_us:.0f}", f"{pace.p99_us:.0f}", f"{pace.per_s:,.0f}")
    return shown
