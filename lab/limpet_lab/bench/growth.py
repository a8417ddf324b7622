"""`limpet bench growth`: what requests cost with more workers, conversations, providers of one model, and models.

One dimension after the other. For each of its values a gateway is up, all at once before the same upstream, and they
take turns of a second under the same load: bodies of 12 KB by 32 connections, then by one, in random order within each
round. What else the machine does concerns all of a round, so ratios to the first value are taken inside it, and the
median of the rounds is the figure.

A gateway with so many conversations has a redis-server of its own, and the load has turns of all of them, one after the
other, each time from another one on. The gateways with one and two workers have a redis-server each, too. All wait for
a lookup as long as it takes: a slow one is to be seen in p99. A value that cannot run, a request that fails, one that
ext_proc did not decide, and many that did not find their conversation end the dimension, and fail the command.

JSON (`--json FILE`), stable; times of a request in milliseconds, CPU by request in microseconds, medians:

    {"growth": {"workers" | "conversations" | "providers" | "models": {
        "values": [{"value",
                    "rps", "p99_ms",          by 32 connections
                    "p99_one_ms",             by one connection
                    "envoy_us", "extproc_us", CPU by 32 connections; of all workers together
                    "ratio": {"rps" | "p99_ms" | "p99_one_ms" | "cpu": {"median", "low", "high"}}
                                              over the first value, which has none; cpu: of Envoy and ext_proc together
                                              low and high bound the median with 95 % confidence
                    "sticky",                 share of the requests that found their conversation
                    "decisions": {reason: requests}}],
        "held": {"rps" | "p99_ms" | "p99_one_ms": true | false},   the bars
        "rounds", "requests"}},
     "failed": {dimension: why it was not measured},
     "machine": {"cores", "python", "pairs", "connections", "one_price"}}
"""

import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from limpet_lab.bench.growth_gateways import Dimension, GrownGateway, gateways
from limpet_lab.bench.growth_report import GrowthTurn, bars, share_found, summary, table
from limpet_lab.bench.latency import NotMeasuredError, decisions_of, metrics_text, require_decided
from limpet_lab.bench.latency_cell import CONNECTIONS
from limpet_lab.bench.latency_load import CONVERSATIONS, SIZES, write_bodies
from limpet_lab.bench.latency_wrk import Load, WrkError, WrkRun, find_wrk, run
from limpet_lab.demo.json_file import JsonFile
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart

VALUES: Final[Mapping[Dimension, Sequence[int]]] = {
    Dimension.WORKERS: (1, 2),
    Dimension.CONVERSATIONS: (1_000, 100_000, 1_000_000),
    Dimension.PROVIDERS: (3, 30, 300),
    Dimension.MODELS: (10, 1_000),
}

_SLICE_S: Final = 1
_WARM_UP_S: Final = 2
_SIZE: Final = "12KB"
_FOUND: Final = 0.9
"""Share of the requests that find their conversation, at least: all have been there before."""


def growth(
    only: Annotated[Dimension | None, typer.Option(help="Only this dimension.")] = None,
    pairs: Annotated[int, typer.Option(help="Rounds, in each of which every value has its turn.", min=1)] = 8,
    json_file: JsonFile = None,
    seed: Annotated[int, typer.Option(help="Decides the order within each round.")] = 1,
    one_price: Annotated[
        bool, typer.Option("--one-price", help="All providers cost the same, as accounts of one vendor do.")
    ] = False,
) -> None:
    """Measure what more workers, conversations, providers and models do to requests a second, p99 and CPU."""
    console = Console()
    found: dict[Dimension, Any] = {}
    failed: dict[Dimension, str] = {}
    for dimension in VALUES if only is None else (only,):
        rng = Random(seed)  # noqa: S311 (an order, not a secret)
        try:
            measuring = measured(find_wrk(), dimension, pairs, rng, console.print, one_price=one_price)
            found[dimension] = asyncio.run(measuring)
        except (WrkError, NotMeasuredError, CannotStart, ChildDied) as error:
            failed[dimension] = str(error)
            print(f"limpet bench growth: {error}", file=sys.stderr)
            continue
        console.print(table(dimension, found[dimension]))
    if found:
        console.print(bars(found))
    console.print(f"The load, the upstream, Envoy and ext_proc shared {os.cpu_count()} cores.")
    if json_file is not None:
        machine = {"cores": os.cpu_count(), "python": sys.version, "pairs": pairs, "connections": CONNECTIONS}
        machine["one_price"] = one_price
        json_file.write_text(json.dumps({"growth": found, "failed": failed, "machine": machine}, indent=2) + "\n")
    if failed:
        raise typer.Exit(1)


async def measured(
    wrk: str, dimension: Dimension, pairs: int, rng: Random, say: Callable[[str], None], *, one_price: bool
) -> dict[str, Any]:
    """The figures of a dimension. Raises WrkError, NotMeasuredError, CannotStart or ChildDied."""
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as name:
        folder = Path(name)
        bodies = write_bodies(folder / _SIZE, SIZES[_SIZE])
        async with gateways(dimension, VALUES[dimension], folder, bodies, say, one_price=one_price) as running:
            for gateway in running:
                await loaded(wrk, gateway, bodies, CONNECTIONS, _WARM_UP_S, rng)
            before = [await _decisions(gateway) for gateway in running]
            rounds = []
            for number in range(pairs):
                rounds.append(await _round(wrk, running, bodies, rng))
                say(f"{dimension}: round {number + 1} of {pairs} done")
            decided = [await _decisions(gateway) - earlier for gateway, earlier in zip(running, before, strict=True)]
    for gateway, decisions in zip(running, decided, strict=True):
        require_decided(decisions, sum(each[gateway.value].requests for each in rounds))
        require_found(decisions, f"{dimension} {gateway.value:,}")
    return summary(dimension, rounds, decided)


async def _round(wrk: str, running: Sequence[GrownGateway], bodies: Path, rng: Random) -> dict[int, GrowthTurn]:
    """A turn of each, in the order of their values."""
    many: dict[int, tuple[WrkRun, Mapping[str, float]]] = {}
    one: dict[int, WrkRun] = {}
    for gateway in rng.sample(running, len(running)):
        before = gateway.cpu_ns()
        done = await loaded(wrk, gateway, bodies, CONNECTIONS, _SLICE_S, rng)
        used = {part: (ns - before[part]) / 1000 / done.requests for part, ns in gateway.cpu_ns().items()}
        many[gateway.value] = done, used
    for gateway in rng.sample(running, len(running)):
        one[gateway.value] = await loaded(wrk, gateway, bodies, 1, _SLICE_S, rng)
    return {gateway.value: _turn(*many[gateway.value], one[gateway.value]) for gateway in running}


def _turn(many: WrkRun, cpu_us: Mapping[str, float], one: WrkRun) -> GrowthTurn:
    return GrowthTurn(
        many.rps,
        many.percentile_ms(99),
        one.percentile_ms(99),
        cpu_us["envoy"],
        cpu_us["extproc"],
        many.requests + one.requests,
    )


async def loaded(wrk: str, gateway: GrownGateway, bodies: Path, connections: int, seconds: int, rng: Random) -> WrkRun:
    """One load of this gateway. Raises NotMeasuredError if a request failed, and WrkError."""
    sessions = gateway.sessions
    # Each session goes on with the body that it began with, of which the first session has the first.
    first = None if sessions is None else rng.randrange(0, sessions, CONVERSATIONS)
    done = await run(wrk, gateway.url, Load(bodies, CONVERSATIONS, connections, seconds, first, sessions))
    if done.failed or not done.requests:
        raise NotMeasuredError(f"{done.failed} of {done.requests} requests failed at the gateway of {gateway.value:,}")
    return done


async def _decisions(gateway: GrownGateway) -> Counter[str]:
    """By reason, of all requests so far."""
    return Counter(decisions_of(await asyncio.to_thread(metrics_text, gateway.metrics_port)))


def require_found(decisions: Mapping[str, int], what: str) -> None:
    """Raises NotMeasuredError if many requests were decided without their conversation, which may be cheaper."""
    if (share := share_found(decisions)) < _FOUND:
        raise NotMeasuredError(
            f"{what}: {share:.1%} of the requests found their conversation, and {_FOUND:.0%} should. "
            "Repeat on a quieter machine"
        )
