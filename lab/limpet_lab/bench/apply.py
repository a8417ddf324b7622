"""`limpet bench apply`: how soon Envoy serves what was applied to a Kubernetes API with thousands of objects.

A real API server, a real operator started as the chart does, a real Envoy. Each round applies a changed Provider (the
model's upstream name), adds one with its Secret and deletes it again, and asks the gateway every few milliseconds until
the answer shows the change. No request may fail in that time. The clock begins when the request is sent to the API
server: the start of kubectl's own process, about a tenth of a second, is not included.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_lab.bench.apply_cluster import Cluster, NotThereInTimeError, given_cluster, own_cluster
from limpet_lab.bench.apply_gateway import RunningGateway, running
from limpet_lab.bench.apply_objects import API_KEY, name_of, provider, secret, world
from limpet_lab.bench.changes import BAR_MS, KINDS, ChangeTimes, Shows, percentiles, turn, until_served
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.kubernetes.assets import AssetsMissingError
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import NoClusterError

_PUSHED: Final = "limpet_xds_pushed_total"
_WRITES: Final = "limpet_status_writes_total"
_UPSTREAMS: Final = ("alpha", "beta")
_SETTLE_S: Final = 0.1
"""After each change, so that what is pushed because of it is counted for it."""


@dataclass(slots=True)
class ApplyFigures:
    """What was measured."""

    fill_s: float = 0.0
    ready_s: float = 0.0
    operator_rss_mb: float = 0.0
    status_writes: float = 0.0
    seen: ChangeTimes = field(default_factory=ChangeTimes)
    answered_ms: list[float] = field(default_factory=list)
    """How long the API server itself took to answer an apply."""
    pushed: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    """The most resources that were pushed for one change of a kind."""


def apply(
    providers: Annotated[int, typer.Option(help="Providers, each with its own Secret.", min=1)] = 1000,
    objects: Annotated[int, typer.Option(help="Objects in all, Secrets among them.", min=2)] = 5000,
    rounds: Annotated[int, typer.Option(help="Rounds of one change, one addition and one removal.", min=1)] = 100,
    json_file: JsonFile = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Use this cluster, in a namespace of its own, instead of starting one.")
    ] = None,
) -> None:
    """Measure how soon an applied change is served, with a thousand providers in a Kubernetes API."""
    console = Console()
    if objects < 2 * providers:
        raise typer.BadParameter(f"{providers} Providers with a Secret each are {2 * providers} objects already")
    place = given_cluster(kubeconfig) if kubeconfig else own_cluster()
    try:
        run = asyncio.run(_measure(place, providers, objects, rounds))
    except (AssetsMissingError, NoClusterError, CannotStart, ChildDied, ApiError, NotThereInTimeError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(2) from error
    figures = {"providers": providers, "objects": objects, "rounds": rounds, **_figures(run)}
    console.print(_table(run, f"{providers} providers, {objects} objects, {rounds} rounds"))
    console.print(
        f"Ready after {run.ready_s:.1f} s; the operator needs {run.operator_rss_mb:.0f} MB and wrote "
        f"{run.status_writes:.0f} statuses; failed requests meanwhile: {run.seen.failed_requests}."
    )
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if run.seen.failed_requests:
        raise typer.Exit(1)


async def _measure(
    place: AbstractAsyncContextManager[Cluster], providers: int, objects: int, rounds: int
) -> ApplyFigures:
    seller = SellerConfig(name="seller", models=tuple(map(SellerModel, _UPSTREAMS)), api_keys=(API_KEY,))
    run = ApplyFigures()
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        async with Sellers.start([seller]) as sellers, place as cluster:
            url = sellers["seller"].base_url
            run.fill_s = await _timed_s(cluster.fill(world(providers, objects, url, _UPSTREAMS[0])))
            began = time.monotonic()
            async with running(cluster, Path(folder)) as gateway:
                await gateway.ready([name_of(number) for number in range(providers)])
                run.ready_s = time.monotonic() - began
                for number in range(rounds):
                    await _round(Changes(cluster, gateway, url, run), number, providers)
                run.operator_rss_mb = gateway.operator_rss_mb()
                run.status_writes = await gateway.counted(_WRITES)
    return run


@dataclass(frozen=True, slots=True)
class Changes:
    """Makes one change at a time and waits until it is served."""

    cluster: Cluster
    gateway: RunningGateway
    url: str
    run: ApplyFigures

    async def change(self, name: str, upstream: str) -> None:
        """Another upstream name."""
        applied = self.cluster.apply(provider(name, self.url, upstream))
        await self._served("changed", applied, name, lambda _, model: model == upstream, 200)

    async def add(self, name: str) -> None:
        """A new provider and its Secret."""
        await self._served("added", self._both(name), name, lambda status, _: status == 200, 404)

    async def remove(self, name: str) -> None:
        """Delete both."""
        deleted = self.cluster.delete("Provider", name)
        await self._served("removed", deleted, name, lambda status, _: status == 404, 200)
        await self.cluster.delete("Secret", name)

    async def _both(self, name: str) -> None:
        await self.cluster.apply(secret(name))
        await self.cluster.apply(provider(name, self.url, _UPSTREAMS[0]))

    async def _served(self, kind: str, change: Awaitable[None], model: str, shows: Shows, before: int) -> None:
        run, pushed = self.run, await self.gateway.counted(_PUSHED)
        began = time.perf_counter()
        answered_s = await _timed_s(change)
        await until_served(self.gateway.clients, model, shows, before, run.seen)
        getattr(run.seen, kind).append((time.perf_counter() - began) * 1000)
        if kind == "changed":
            run.answered_ms.append(answered_s * 1000)
        await asyncio.sleep(_SETTLE_S)
        run.pushed[kind] = max(run.pushed[kind], await self.gateway.counted(_PUSHED) - pushed)


async def _round(changes: Changes, number: int, providers: int) -> None:
    index, upstream = turn(number, providers, _UPSTREAMS)
    await changes.change(name_of(index), upstream)
    new = f"new{number:05}"
    await changes.add(new)
    await changes.remove(new)


async def _timed_s(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _figures(run: ApplyFigures) -> dict[str, Any]:
    by_kind = run.seen.figures()
    return {
        "ready_s": round(run.ready_s, 2),
        **by_kind["changed"],
        "resources_pushed_max": int(run.pushed["changed"]),
        "operator_rss_mb": round(run.operator_rss_mb, 1),
        **{kind: {**by_kind[kind], "resources_pushed_max": int(run.pushed[kind])} for kind in ("added", "removed")},
        "api_server": percentiles(run.answered_ms),
        "fill_s": round(run.fill_s, 2),
        "status_writes": int(run.status_writes),
        "failed_requests": run.seen.failed_requests,
    }


def _table(run: ApplyFigures, title: str) -> Table:
    shown = Table(title=title, box=SIMPLE)
    for column in ("a provider is", "p50 ms", "p99 ms", f"bar {BAR_MS:.0f} ms", "resources pushed, at most"):
        shown.add_column(column, justify="left" if column.startswith("a ") else "right")
    for kind, one in run.seen.figures().items():
        outcome = "held" if one["p99_ms"] <= BAR_MS else "missed"
        shown.add_row(kind, f"{one['p50_ms']:.0f}", f"{one['p99_ms']:.0f}", outcome, f"{run.pushed[kind]:.0f}")
    answered = percentiles(run.answered_ms)
    shown.add_row("  the API server's part", f"{answered['p50_ms']:.0f}", f"{answered['p99_ms']:.0f}")
    return shown
