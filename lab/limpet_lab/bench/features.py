"""`limpet bench features`: how much more CPU a request takes with clients' keys and the activity service.

Two gateways are up at once before the same upstream: one as `limpet up` runs without either, one whose clients need
keys, with limits, which tells an activity service of each request, and whose metrics are read. They take turns of a
second under the same load (`latency_wrk`), in random order within each pair. What else the machine does concerns both
halves of a pair, so each pair has its own ratio, and the median of these is the figure.

CPU is that of Envoy and of ext_proc, in nanoseconds as the kernel counts it for their threads. The activity service is
told of separately: no request waits for it.

JSON (`--json FILE`), stable; microseconds of CPU by request, medians; null if nothing was measured:

    {"without": {"envoy_us", "extproc_us"}, "with": {"envoy_us", "extproc_us", "activity_us"},
     "ratio": {"median", "low", "high"},    of both together; low and high bound the median with 95 % confidence
     "pairs", "requests", "machine": {"cores", "python"}}
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import psutil
import typer
from rich.console import Console

from limpet_lab.bed import Bed
from limpet_lab.bench.cpu_time import cpu_ns
from limpet_lab.bench.latency import NotMeasuredError, metrics_text
from limpet_lab.bench.latency_cell import CONNECTIONS
from limpet_lab.bench.latency_load import CONVERSATIONS, SIZES, write_bodies
from limpet_lab.bench.latency_targets import client_keys, configuration, running
from limpet_lab.bench.latency_wrk import Load, WrkError, find_wrk, run
from limpet_lab.bench.ratios import middle_of
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.activity import ActivityPlace
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.laptop.state import prepared_state
from limpet_operator.resources.objects import Parser

HOT: Final = ("envoy", "extproc")
_ARMS: Final = ("without", "with")
_SLICE_S: Final = 1
_WARM_UP_S: Final = 5
_SIZE: Final = "12KB"


@dataclass(frozen=True, slots=True)
class Slice:
    """One turn of one gateway: CPU microseconds a request, by part."""

    requests: int
    cpu_us: Mapping[str, float]

    @property
    def hot_us(self) -> float:
        """Of what a request passes."""
        return sum(self.cpu_us[part] for part in HOT)


@dataclass(frozen=True, slots=True)
class MeasuredGateway:
    """A gateway that is up."""

    url: str
    pids: Mapping[str, int]
    metrics_port: int


def features(
    pairs: Annotated[int, typer.Option(help="Pairs of turns; each takes two seconds and a little.", min=1)] = 80,
    json_file: JsonFile = None,
    keys: Annotated[bool, typer.Option(help="Whether the second gateway's clients need keys.")] = True,
    activity: Annotated[bool, typer.Option(help="Whether it tells an activity service of each request.")] = True,
    seed: Annotated[int, typer.Option(help="Decides the order within each pair.")] = 1,
) -> None:
    """Measure how much more CPU a request takes with clients' keys, activity records and metrics."""
    console = Console()
    try:
        rng = Random(seed)  # noqa: S311 (an order, not a secret)
        result = asyncio.run(_measured(find_wrk(), pairs, console, rng, keys=keys, activity=activity))
    except (WrkError, NotMeasuredError, CannotStart, ChildDied) as error:
        print(f"limpet bench features: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    for line in lines(result):
        console.print(line)


async def _measured(
    wrk: str, pairs: int, console: Console, rng: Random, *, keys: bool, activity: bool
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as name:
        folder = Path(name)
        bodies = write_bodies(folder / _SIZE, SIZES[_SIZE])
        async with _both(folder, keys=keys, activity=activity) as arms:
            for arm in _ARMS:
                await run(wrk, arms[arm].url, Load(bodies, CONVERSATIONS, CONNECTIONS, _WARM_UP_S))
            taken: list[tuple[Slice, Slice]] = []
            for number in range(pairs):
                pair: dict[str, Slice] = {}
                for arm in rng.sample(_ARMS, 2):
                    pair[arm] = await _slice(wrk, arms[arm], bodies)
                taken.append((pair["without"], pair["with"]))
                if (number + 1) % 10 == 0:
                    console.print(f"{number + 1} of {pairs} pairs done")
            await _require_clients(arms["with"], sum(second.requests for _, second in taken) if keys else 0)
    return {**summary(taken), "machine": {"cores": os.cpu_count(), "python": sys.version}}


@asynccontextmanager
async def _both(folder: Path, *, keys: bool, activity: bool) -> AsyncIterator[Mapping[str, MeasuredGateway]]:
    async with running(folder, concurrency=1, rename=False) as targets:
        metrics_port = free_port()
        settings = LocalSettings(
            port=free_port(),
            extproc_metrics_port=metrics_port,
            node="limpet-with",
            client_keys="Required" if keys else "Off",
            activity=ActivityPlace(prepared_state({}, folder), free_port()) if activity else None,
        )
        upstream_port = urlsplit(targets.urls["direct"]).port
        assert upstream_port is not None
        async with LocalGateway(settings) as gateway:
            objects = [*configuration(upstream_port, rename=False), *client_keys()]
            Bed(Sellers([]), gateway, Parser.load()).apply(objects)
            await gateway.ready()
            url = targets.urls["limpet"].replace(f":{urlsplit(targets.urls['limpet']).port}", f":{settings.port}")
            yield {
                "without": MeasuredGateway(
                    targets.urls["limpet"],
                    {"envoy": targets.pids["limpet"], "extproc": targets.pids["extproc"]},
                    targets.extproc_metrics_port,
                ),
                "with": MeasuredGateway(
                    url,
                    {
                        "envoy": gateway.children.pid("envoy"),
                        "extproc": gateway.children.pid("ext_proc"),
                        **({"activity": _activity_pid(gateway)} if activity else {}),
                    },
                    metrics_port,
                ),
            }


def _activity_pid(gateway: LocalGateway) -> int:
    """Of the service that this gateway has started, beside its own children."""
    ours = {gateway.children.pid("envoy"), gateway.children.pid("ext_proc")}
    found = [
        each.pid
        for each in psutil.Process().children()
        if each.pid not in ours and any("limpet_activity" in word for word in each.cmdline())
    ]
    if len(found) != 1:
        raise NotMeasuredError(f"{len(found)} activity services run, and one should")
    return found[0]


async def _slice(wrk: str, arm: MeasuredGateway, bodies: Path) -> Slice:
    before = {part: cpu_ns(pid) for part, pid in arm.pids.items()}
    ran, _ = await asyncio.gather(
        run(wrk, arm.url, Load(bodies, CONVERSATIONS, CONNECTIONS, _SLICE_S)),
        asyncio.to_thread(metrics_text, arm.metrics_port),
    )
    if ran.failed or not ran.requests:
        raise NotMeasuredError(f"{ran.failed} of {ran.requests} requests to {arm.url} failed")
    return Slice(
        ran.requests, {part: (cpu_ns(pid) - before[part]) / 1000 / ran.requests for part, pid in arm.pids.items()}
    )


async def _require_clients(arm: MeasuredGateway, sent: int) -> None:
    """That each request was one of a client with a key. Raises NotMeasuredError."""
    if not sent:
        return
    text = await asyncio.to_thread(metrics_text, arm.metrics_port)
    routed = sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("limpet_client_requests_total{") and 'result="routed"' in line
    )
    if routed < sent:
        raise NotMeasuredError(f"{routed:g} of {sent} requests were those of a client with a key")


def summary(pairs: Sequence[tuple[Slice, Slice]]) -> dict[str, Any]:
    """The figures of these pairs, the one without first."""
    return {
        **{arm: _medians([pair[at] for pair in pairs]) for at, arm in enumerate(_ARMS)},
        "ratio": middle_of(second.hot_us / first.hot_us for first, second in pairs),
        "pairs": len(pairs),
        "requests": sum(first.requests + second.requests for first, second in pairs),
    }


def _medians(slices: Sequence[Slice]) -> dict[str, float]:
    return {f"{part}_us": median(each.cpu_us[part] for each in slices) for part in slices[0].cpu_us}


def lines(result: Mapping[str, Any]) -> list[str]:
    """For people."""
    ratio = result["ratio"]
    parts = [
        f"{arm + ':':<9}" + ", ".join(f"{part.removesuffix('_us')} {us:.1f} µs" for part, us in result[arm].items())
        for arm in _ARMS
    ]
    more, low, high = (100 * (ratio[each] - 1) for each in ("median", "low", "high"))
    figure = (
        f"CPU a request of Envoy and ext_proc: {more:+.1f} % with them ({low:+.1f} to {high:+.1f} %, "
        f"{result['pairs']} pairs, {result['requests']:,} requests)."
    )
    return [*parts, figure]
