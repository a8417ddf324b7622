"""`limpet bench mesh`: what a turn costs by an application's own sidecar, beside the gateway's header mode.

Three targets in turn, the order changing with the round, against the same upstream, by one connection with bodies of
12 KB: the upstream itself, a gateway in header mode, and a sidecar that asks the workers of a gateway over mutual TLS
and goes to the provider itself. After the run the sidecar must have sent every request of its own to a provider: it
leaves to the gateway what is not decided.

JSON (`--json FILE`), stable; times in milliseconds, medians of the rounds:

    {"direct" | "header_mode" | "sidecar": {"p50_ms", "p99_ms", "failed", "added_p50_ms" (not in "direct")},
     "ratio": added p50 of the sidecar over that of header mode,
     "machine": {"cores", "python", "rounds", "seconds"}}
"""

import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from limpet_lab.bed import Bed
from limpet_lab.bench.latency import NotMeasuredError
from limpet_lab.bench.latency_load import CONVERSATIONS, DIALECTS, SIZES, write_bodies
from limpet_lab.bench.latency_targets import configuration, start_envoy, upstream_config
from limpet_lab.bench.latency_wrk import Load, WrkError, WrkRun, find_wrk, run
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.mesh.meshed_gateway import NAMESPACE, MeshedGateway
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.children import ChildDied, Children
from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser
from limpet_operator.serve.token_review import Workload

TARGETS: Final = ("direct", "header_mode", "sidecar")
MOST: Final = 1.5
"""Times what header mode adds."""
_MOST_LEFT: Final = 0.001
"""Of the sidecar's requests, that workers were too slow to decide: more would flatter the figures."""
_SIZE: Final = "12KB"
_WARM_UP_S: Final = 1


class _AnyToken:
    async def workload(self, _token: str) -> Workload:
        return Workload(NAMESPACE, "checkout")


def mesh(
    json_file: JsonFile = None,
    rounds: Annotated[int, typer.Option(help="How often each target has its turn.", min=1)] = 5,
    seconds: Annotated[int, typer.Option(help="Length of each run of wrk.", min=1)] = 3,
) -> None:
    """Measure what a turn costs by an application's own sidecar, beside the gateway's header mode."""
    try:
        result = asyncio.run(_run(find_wrk(), rounds, seconds))
    except (WrkError, NotMeasuredError, CannotStart, ChildDied) as error:
        print(f"limpet bench mesh: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    console = Console()
    for target in TARGETS:
        console.print(f"{target:12} " + "  ".join(f"{name} {value:.3f}" for name, value in result[target].items()))
    holds = "holds" if result["ratio"] <= MOST else "missed"
    console.print(f"a sidecar adds {result['ratio']:.2f} × what header mode adds; bar ≤ {MOST}: {holds}")
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    if any(result[target]["failed"] for target in TARGETS):
        raise typer.Exit(1)


async def _run(wrk: str, rounds: int, seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as name:
        folder = Path(name)
        bodies = write_bodies(folder / _SIZE, SIZES[_SIZE])
        async with _running(folder) as (urls, gateway):
            for url in urls.values():
                await run(wrk, url, Load(bodies, CONVERSATIONS, 1, _WARM_UP_S))
            before = await _sent(gateway)
            runs: dict[str, list[WrkRun]] = {target: [] for target in TARGETS}
            for number in range(rounds):
                turn = number % len(TARGETS)
                for target in (*TARGETS[turn:], *TARGETS[:turn]):
                    runs[target].append(await run(wrk, urls[target], Load(bodies, CONVERSATIONS, 1, seconds)))
            sent, asked = await _sent(gateway) - before, sum(each.requests for each in runs["sidecar"])
    if asked - sent > asked * _MOST_LEFT:
        raise NotMeasuredError(f"the sidecar left {asked - sent} of {asked} requests to the gateway")
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "rounds": rounds, "seconds": seconds}
    return {**report(runs), "machine": machine}


def report(runs: Mapping[str, Sequence[WrkRun]]) -> dict[str, Any]:
    """The numbers: what a target adds is taken within a round, and the median over the rounds is shown."""
    result: dict[str, Any] = {}
    added: dict[str, float] = {}
    for target, its in runs.items():
        result[target] = {
            "p50_ms": median(each.percentile_ms(50) for each in its),
            "p99_ms": median(each.percentile_ms(99) for each in its),
            "failed": sum(each.failed for each in its),
        }
        if target != "direct":
            pairs = zip(its, runs["direct"], strict=True)
            added[target] = median(ours.percentile_ms(50) - base.percentile_ms(50) for ours, base in pairs)
            result[target]["added_p50_ms"] = added[target]
    return {**result, "ratio": added["sidecar"] / added["header_mode"]}


async def _sent(gateway: MeshedGateway) -> int:
    providers = gateway.plan.providers
    return sum([await gateway.sidecar.sent(each) for each in providers])


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[tuple[Mapping[str, str], MeshedGateway]]:
    children, upstream_port = Children(folder), free_port()
    files = folder / "mesh"
    files.mkdir()
    plain = LocalSettings(port=free_port(), header_mode=True, node="limpet-header-mode")
    try:
        await start_envoy(children, "upstream", upstream_config(upstream_port), os.cpu_count() or 1, upstream_port)
        objects = configuration(upstream_port, rename=False)
        async with (
            LocalGateway(plain) as by_header,
            MeshedGateway(LocalSettings(port=free_port()), files, _AnyToken()) as meshed,
        ):
            for gateway in (by_header, meshed):
                Bed(Sellers([]), gateway, Parser.load()).apply(objects)
                await gateway.ready()
            await meshed.followed()
            path = DIALECTS["chat"].removeprefix("/v1")
            direct = f"http://127.0.0.1:{upstream_port}/v1{path}"
            yield (
                {"direct": direct, "header_mode": by_header.base_url + path, "sidecar": meshed.base_url + path},
                meshed,
            )
    finally:
        await children.stop()
