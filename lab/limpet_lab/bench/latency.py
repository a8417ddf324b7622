"""`limpet bench latency`: what the gateway costs, beside a direct call and beside Envoy alone.

Three targets in turn, the order changing with the round, against the same upstream (`latency_targets`), under the same
load (`latency_load`, `latency_wrk`): first by one connection for latencies, then by 32 for throughput and CPU. Limpet
runs with all it has by default: stickiness and memory, outcomes by access logs, metrics. After the run ext_proc's own
counters must account for every request, because Envoy would serve on, and faster, without it.

JSON (`--json FILE`), stable; times of a request in milliseconds and microseconds, memory in 10^6 bytes; null where a
request of the cell, or of the cell it is compared with, failed:

    {"direct" | "envoy" | "limpet": {"2KB" | "12KB" | "100KB": {
        "p50_ms", "p99_ms"              by one connection, median of the rounds
        "rps"                           answers a second, 32 connections
        "cpu_us", "rss_mb"              of the upstream, the plain Envoy, or Limpet's Envoy; CPU by request
        "failed"                        requests
        "added_p50_ms", "added_p99_ms"  over the direct call of the same round (not in "direct")
        "share_of_envoy"                rps over Envoy alone's of the same round     (these only in "limpet")
        "extproc_cpu_us", "extproc_rss_mb"}}},
     "decisions": {reason: requests},
     "machine": {"cores", "envoy_workers", "python", "rounds", "seconds", "connections", "renamed"}}

With `--dialects` only `{"dialects": …, "decisions": …, "machine": …}`: see `latency_dialects`.
With `--memory` only `{"memory": [{"after", "requests", "rss_mb"}, …], "machine": …}`: see `latency_memory`.
With `--profile` only `{"profile": …, "machine": …}`: see `latency_profile`.
"""

import asyncio
import http.client
import json
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from limpet_lab.bench import latency_dialects, latency_memory, latency_profile
from limpet_lab.bench.latency_cell import CONNECTIONS, Cell, Place, take
from limpet_lab.bench.latency_load import CONVERSATIONS, DIALECTS, MODEL, SIZES, body, write_bodies
from limpet_lab.bench.latency_report import bars, report, table
from limpet_lab.bench.latency_targets import TARGETS, Targets, ask, running
from limpet_lab.bench.latency_wrk import Load, WrkError, find_wrk, run
from limpet_lab.demo.json_file import JsonFile
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart

_WARM_UP_S: Final = 1


class NotMeasuredError(Exception):
    """What ran was not what should be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to measure."""

    rounds: int
    seconds: int
    """Of each run of wrk; a cell has two."""
    concurrency: int
    """Worker threads of the upstream's Envoy and of the plain one; Limpet's has as many as `limpet up` gives it."""
    rename: bool = False


def latency(
    json_file: JsonFile = None,
    rounds: Annotated[int, typer.Option(help="How often each target has its turn.", min=1)] = 4,
    seconds: Annotated[int, typer.Option(help="Length of each run of wrk; each cell has two.", min=1)] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="One round of one second: does it work at all?")] = False,
    rename: Annotated[bool, typer.Option("--rename", help="The providers call the model differently.")] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Watch ext_proc's memory over 100,000 requests instead.")
    ] = False,
    dialects: Annotated[
        bool, typer.Option("--dialects", help="Compare Messages and Responses with chat completions instead.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Find where CPU time goes, in Envoy and in ext_proc, instead.")
    ] = False,
    envoy_workers: Annotated[int, typer.Option(help="Worker threads of Envoy alone; 0: one a core.", min=0)] = 0,
) -> None:
    """Measure what the gateway adds to a call: time, CPU and memory, beside a direct call and Envoy alone."""
    plan = Schedule(1 if quick else rounds, 1 if quick else seconds, envoy_workers or os.cpu_count() or 1, rename)
    console = Console()
    try:
        wrk = find_wrk()
        if profile:
            measuring = _run_profile(plan, wrk, console)
        elif dialects:
            measuring = _run_dialects(plan, wrk, console)
        else:
            measuring = _run(plan, wrk, console, memory=memory)
        result = asyncio.run(measuring)
    except (WrkError, NotMeasuredError, CannotStart, ChildDied) as error:
        print(f"limpet bench latency: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    shown = result.get("dialects", result)
    if any(entry["failed"] for row in (*TARGETS, *DIALECTS) for entry in shown.get(row, {}).values()):
        raise typer.Exit(1)


async def _run(plan: Schedule, wrk: str, console: Console, *, memory: bool) -> dict[str, Any]:
    machine = _machine(plan)
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as name:
        folder = Path(name)
        bodies = {size: write_bodies(folder / size, length) for size, length in SIZES.items()}
        async with running(folder, concurrency=plan.concurrency, rename=plan.rename) as targets:
            await check(targets)
            if memory:
                readings = await latency_memory.measure(wrk, targets, bodies["12KB"], console.print)
                console.print(latency_memory.table(readings))
                return {"memory": latency_memory.as_json(readings), "machine": machine}
            cells = await measure(plan, wrk, targets, bodies, console.print)
            decisions = await _decisions(targets)
    sent = sum(cell.one.requests + cell.many.requests for cell in cells if cell.target == "limpet")
    require_decided(decisions, sent)
    result = report(cells)
    about = (
        f"{plan.rounds} × {plan.seconds} s a cell, {plan.concurrency} threads in Envoy alone, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. "
        f"Latencies by 1 connection, the rest by {CONNECTIONS}. share: of Envoy alone's req/s. µs: CPU a request, "
        "of the upstream in the rows 'direct'. MB: ext_proc."
    )
    console.print(table(result, about), bars(result), sep="\n")
    return {**result, "decisions": decisions, "machine": machine}


async def _run_dialects(plan: Schedule, wrk: str, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as name:
        folder = Path(name)
        bodies = latency_dialects.write_all(folder)
        async with running(folder, concurrency=plan.concurrency, rename=plan.rename) as targets:
            await check(targets)
            cells = await latency_dialects.measure(plan.rounds, plan.seconds, wrk, targets, bodies, console.print)
            decisions = await _decisions(targets)
    require_decided(decisions, sum(cell.one.requests + cell.many.requests for cell in cells))
    result = latency_dialects.report(cells)
    console.print(latency_dialects.table(result), latency_dialects.bars(result), sep="\n")
    return {"dialects": result, "decisions": decisions, "machine": _machine(plan)}


async def _run_profile(plan: Schedule, wrk: str, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as name:
        bodies = write_bodies(Path(name) / "12KB", SIZES["12KB"])
        result = await latency_profile.profile(wrk, Path(name), bodies, plan.rounds, console.print)
    console.print(*latency_profile.tables(result), sep="\n")
    return {"profile": result, "machine": _machine(plan)}


def _machine(plan: Schedule) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "envoy_workers": plan.concurrency,
        "python": sys.version,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "connections": CONNECTIONS,
        "renamed": plan.rename,
    }


async def measure(
    plan: Schedule, wrk: str, targets: Targets, bodies: Mapping[str, Path], say: Callable[[str], None]
) -> list[Cell]:
    """All cells of all rounds, after a warm-up that fills connection pools and memory."""
    for url in targets.urls.values():
        for folder in bodies.values():
            await run(wrk, url, Load(folder, CONVERSATIONS, CONNECTIONS, _WARM_UP_S))
    cells: list[Cell] = []
    for number in range(plan.rounds):
        # No target is always first, or always after the one that heated the machine.
        turn = TARGETS[number % len(TARGETS) :] + TARGETS[: number % len(TARGETS)]
        for size, folder in bodies.items():
            for target in turn:
                place = Place(number, size, target)
                cells.append(await take(place, targets.urls[target], folder, plan.seconds, wrk, targets))
        say(f"round {number + 1} of {plan.rounds} done")
    return cells


async def check(targets: Targets) -> None:
    """One request to each target must come back as it should. Raises NotMeasuredError."""
    for target, url in targets.urls.items():
        status, headers = await asyncio.to_thread(ask, url, body(0, SIZES["2KB"], MODEL))
        provider = headers.get("x-limpet-provider")
        if status != 200 or (provider is None) == (target == "limpet"):
            raise NotMeasuredError(
                f"{target} answers with {status} from {provider or 'nobody'}: there is nothing to measure"
            )


async def _decisions(targets: Targets) -> dict[str, int]:
    return decisions_of(await asyncio.to_thread(metrics_text, targets.extproc_metrics_port))


def metrics_text(port: int) -> str:
    """What ext_proc shows of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def decisions_of(metrics: str) -> dict[str, int]:
    """Requests by the reason of their decision, from the Prometheus text of ext_proc, all workers together."""
    decisions = Counter[str]()
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "limpet_decisions_total":
                decisions[sample.labels["reason"]] += int(sample.value)
    return decisions


def require_decided(decisions: Mapping[str, int], sent: int) -> None:
    """Raises NotMeasuredError if requests passed Envoy without ext_proc, which would flatter every number."""
    decided = sum(decisions.values())
    if decided < sent:
        raise NotMeasuredError(
            f"ext_proc decided {decided} of {sent} requests and Envoy served the rest without it, so the numbers "
            "would be too good. Repeat on a quieter machine"
        )
