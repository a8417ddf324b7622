"""`limpet bench reload`: how soon Envoy serves what was changed in a directory of a thousand providers.

A real `limpet up` follows the directory. Each round edits one file (the model's upstream name), adds one and takes it
away again, and asks the gateway every few milliseconds until the answer shows it. No request may fail in that time.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from limpet_lab.bench.changes import BAR_MS, ChangeTimes, Shows, turn, until_served
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Seller, Sellers
from limpet_operator.laptop.machine import free_port

_START_S: Final = 120.0
_NAMES: Final = ("alpha", "beta")

_PROVIDER: Final = """\
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  vendor: DeepSeek
  url: {url}
  models: [{{name: {model}, upstreamName: {upstream}}}]
  responseModel: Upstream  # shows which of its names was asked for
"""


def reload(
    providers: Annotated[int, typer.Option(help="Providers in the directory, a file each.", min=1)] = 1000,
    rounds: Annotated[int, typer.Option(help="Rounds of one change, one addition and one removal.", min=1)] = 100,
    json_file: JsonFile = None,
) -> None:
    """Measure how soon a changed file is served, with a thousand providers in the directory."""
    console = Console()
    ready_s, seen = asyncio.run(_measure(providers, rounds))
    figures = {
        "providers": providers,
        "rounds": rounds,
        "ready_s": round(ready_s, 2),
        **seen.figures(),
        "failed_requests": seen.failed_requests,
    }
    table = Table(
        "a provider is", "p50 ms", "p99 ms", f"bar {BAR_MS:.0f} ms", title=f"{providers} providers, {rounds} rounds"
    )
    for name, one in seen.figures().items():
        table.add_row(
            name, f"{one['p50_ms']:.0f}", f"{one['p99_ms']:.0f}", "held" if one["p99_ms"] <= BAR_MS else "missed"
        )
    console.print(table)
    console.print(f"Ready after {ready_s:.1f} s; failed requests meanwhile: {seen.failed_requests}.")
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if seen.failed_requests:
        raise typer.Exit(1)


async def _measure(providers: int, rounds: int) -> tuple[float, ChangeTimes]:
    seller = SellerConfig(name="seller", models=tuple(SellerModel(name) for name in _NAMES))
    with tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder:
        async with Sellers.start([seller]) as sellers:
            directory = Path(folder)
            for number in range(providers):
                _write(directory, f"p{number:05}", sellers["seller"], _NAMES[0])
            began = time.monotonic()
            async with _gateway(directory) as client:
                ready_s = time.monotonic() - began
                seen = ChangeTimes()
                for number in range(rounds):
                    await _round(client, directory, sellers["seller"], number, providers, seen)
                return ready_s, seen


@asynccontextmanager
async def _gateway(directory: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of `limpet up` with this directory, once it is ready."""
    port = free_port()
    up = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "limpet_operator.cli", "up", str(directory), "--listen", f"127.0.0.1:{port}"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}/v1/") as client:
            await _until_up(client, up)
            yield client
    finally:
        up.terminate()
        await up.wait()


async def _until_up(client: aiohttp.ClientSession, up: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            if up.returncode is not None:
                raise RuntimeError(f"limpet up ended with status {up.returncode}")
            try:
                async with client.get("models"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def _round(
    client: aiohttp.ClientSession, directory: Path, seller: Seller, number: int, providers: int, seen: ChangeTimes
) -> None:
    index, upstream = turn(number, providers, _NAMES)
    name = f"p{index:05}"
    _write(directory, name, seller, upstream)
    seen.changed.append(await _until(client, name, lambda _, model: model == upstream, seen, 200))
    new = f"new{number:05}"
    _write(directory, new, seller, _NAMES[0])
    seen.added.append(await _until(client, new, lambda status, _: status == 200, seen, 404))
    (directory / f"{new}.yaml").unlink()
    seen.removed.append(await _until(client, new, lambda status, _: status == 404, seen, 200))


async def _until(client: aiohttp.ClientSession, model: str, shows: Shows, seen: ChangeTimes, before: int) -> float:
    """Milliseconds until an answer shows the change."""
    began = time.perf_counter()
    await until_served(client, model, shows, before, seen)
    return (time.perf_counter() - began) * 1000


def _write(directory: Path, name: str, seller: Seller, upstream: str) -> None:
    """Replace it in one step, as editors and ConfigMaps do."""
    text = _PROVIDER.format(name=name, url=seller.base_url, model=name, upstream=upstream)
    draft = directory / f".{name}.draft"
    draft.write_text(text)
    draft.rename(directory / f"{name}.yaml")
