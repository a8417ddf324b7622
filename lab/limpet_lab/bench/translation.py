"""`limpet bench translation`: what it adds to a chat completion that its provider speaks only Anthropic's Messages.

One gateway, one upstream that has its answers ready in both APIs, and two Providers of it: one speaks chat completions,
the other Messages. They are asked in turns, so that what else the machine does concerns both.

JSON (`--json FILE`), milliseconds; medians. `first_byte` is that of a stream, by size of request, `whole` an unstreamed
answer, and a megabyte 10^6 bytes at the client:

    {"first_byte": {"2KB" | "100KB" | "1MB": {"native_ms", "translated_ms", "added_ms"}},
     "whole":      {"2KB": …},
     "stream":     {"native_ms_per_mb", "translated_ms_per_mb", "added_ms_per_mb"}}
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from statistics import median
from typing import Annotated, Any, Final

import aiohttp
import typer
from aiohttp import web
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_lab.bed import Bed, Object
from limpet_lab.bench.translation_upstream import upstream_app
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser

KINDS: Final = {"native": "Custom", "translated": "Anthropic"}
"""And the vendor of each."""
_SIZES: Final = {"2KB": 2_000, "100KB": 100_000, "1MB": 1_000_000}
_SHORT, _LONG = 10, 10_000
"""Events of a stream."""


def translation(
    json_file: JsonFile = None,
    requests: Annotated[int, typer.Option(help="How often each is asked for the first byte.", min=1)] = 200,
    streams: Annotated[int, typer.Option(help="How many long streams each sends.", min=1)] = 5,
) -> None:
    """Measure what translating a chat completion adds to it: to its first byte, and to each MB of a stream."""
    result = asyncio.run(_measure(requests, streams))
    Console().print(table(result))
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


async def _measure(requests: int, streams: int) -> dict[str, Any]:
    async with _running() as url, aiohttp.ClientSession() as client:

        async def turns(count: int, characters: int, *, stream: bool, events: int) -> dict[str, list[_Timing]]:
            taken: dict[str, list[_Timing]] = {kind: [] for kind in KINDS}
            for number in range(count + 2):
                for kind in KINDS:
                    timing = await _timed(client, url, body(f"{kind}-{events}", characters, stream=stream))
                    if number >= 2:
                        taken[kind].append(timing)
            return taken

        first = {name: await turns(requests, size, stream=True, events=_SHORT) for name, size in _SIZES.items()}
        whole = await turns(requests, _SIZES["2KB"], stream=False, events=_SHORT)
        long = await turns(streams, _SIZES["2KB"], stream=True, events=_LONG)
    return report(
        {size: {kind: [each[0] for each in taken[kind]] for kind in KINDS} for size, taken in first.items()},
        {kind: [each[0] for each in whole[kind]] for kind in KINDS},
        {kind: [(first_s + rest_s) * 1e6 / size for first_s, rest_s, size in long[kind]] for kind in KINDS},
    )


_Timing = tuple[float, float, int]
"""Seconds to the first byte of the body, seconds from there to the end, and bytes."""


def body(model: str, characters: int, *, stream: bool) -> bytes:
    """A request of about that size."""
    message = {"role": "user", "content": "tide " * (characters // 5)}
    return json.dumps({"model": model, "messages": [message], "stream": stream}).encode()


async def _timed(client: aiohttp.ClientSession, url: str, request: bytes) -> _Timing:
    began = time.perf_counter()
    async with client.post(url, data=request, headers={"content-type": "application/json"}) as response:
        response.raise_for_status()
        size = len(await response.content.readany())
        first = time.perf_counter()
        async for chunk in response.content.iter_any():
            size += len(chunk)
    return first - began, time.perf_counter() - first, size


@asynccontextmanager
async def _running() -> AsyncIterator[str]:
    """Where chat completions are asked for. Raises CannotStart or ChildDied."""
    runner = web.AppRunner(upstream_app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    try:
        async with LocalGateway(LocalSettings(port=free_port())) as gateway:
            Bed(Sellers([]), gateway, Parser.load()).apply(configuration(port))
            await gateway.ready()
            yield f"{gateway.base_url}/chat/completions"
    finally:
        await runner.cleanup()


def configuration(port: int) -> list[Object]:
    """Both Providers, as a user would write them."""
    return [
        {
            "apiVersion": "limpet.dev/v1alpha1",
            "kind": "Provider",
            "metadata": {"name": kind},
            "spec": {
                "vendor": vendor,
                "url": f"http://127.0.0.1:{port}/v1",
                "models": [{"name": f"{kind}-{events}"} for events in (_SHORT, _LONG)],
            },
        }
        for kind, vendor in KINDS.items()
    ]


def report(
    first_s: Mapping[str, Mapping[str, list[float]]],
    whole_s: Mapping[str, list[float]],
    stream_s_per_mb: Mapping[str, list[float]],
) -> dict[str, Any]:
    """The JSON, from seconds by kind."""
    return {
        "first_byte": {size: _entry(kinds, "ms") for size, kinds in first_s.items()},
        "whole": {"2KB": _entry(whole_s, "ms")},
        "stream": _entry(stream_s_per_mb, "ms_per_mb"),
    }


def _entry(seconds: Mapping[str, list[float]], unit: str) -> dict[str, float]:
    native, translated = (median(seconds[kind]) * 1000 for kind in KINDS)
    return {f"native_{unit}": native, f"translated_{unit}": translated, f"added_{unit}": translated - native}


def table(result: Mapping[str, Any]) -> Table:
    """For people."""
    shown = Table(title="chat completions, native and translated", box=SIMPLE)
    shown.add_column("what")
    for column in ("native ms", "translated ms", "added ms", "ratio"):
        shown.add_column(column, justify="right")
    rows = {
        **{f"first byte of a stream, request of {size}": each for size, each in result["first_byte"].items()},
        **{f"a whole answer, request of {size}": each for size, each in result["whole"].items()},
        "each MB of a stream": result["stream"],
    }
    for what, entry in rows.items():
        native, translated, added = entry.values()
        shown.add_row(what, f"{native:.2f}", f"{translated:.2f}", f"{added:.2f}", f"{translated / native:.2f}")
    return shown
