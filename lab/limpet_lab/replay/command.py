"""`limpet bench replay`: a trace over simulated providers, by Limpet's rules, by others', and by nobody's."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_lab.replay.comparison import Comparison, World, compare
from limpet_lab.replay.failures import read_troubles
from limpet_lab.replay.families import FAMILY_NAMES, family
from limpet_lab.replay.json_lines import TraceError
from limpet_lab.replay.providers import KnownProviders, ProvidersError, load_providers
from limpet_lab.replay.sellers import sellers_of
from limpet_lab.replay.show import svg, table
from limpet_lab.replay.trace import Trace, read_trace

_MODEL: Final = "deepseek-flash"
BEGINS: Final = datetime(2026, 11, 30, 0, 30, tzinfo=UTC)
"""A Monday, half an hour before DeepSeek's peak hours."""


def replay(
    trace: Annotated[
        Path | None,
        typer.Argument(help="JSON lines in the form of the Mooncake traces. Default: the sample, or --family."),
    ] = None,
    family_names: Annotated[
        list[str], typer.Option("--family", help=f"Also a generated trace: {', '.join(FAMILY_NAMES)}; repeatable.")
    ] = [],  # noqa: B006 (typer's way to say none)
    seed: Annotated[int, typer.Option(help="Of the generated traces.", min=0)] = 1,
    svg_file: Annotated[Path | None, typer.Option("--svg", help="Draw the bills there.", dir_okay=False)] = None,
    json_file: JsonFile = None,
) -> None:
    """Replay requests on a virtual clock, and compare what each set of routing rules pays with the least possible.

    Limpet's rules are the production code, from the bytes of a request to its log entry. The providers are simulated,
    with real prices, price windows and cache rules and a record of failures. No request leaves the machine.
    """
    console = Console()
    try:
        played = asyncio.run(_play(_traces(trace, family_names, seed), console))
    except (TraceError, ProvidersError) as error:
        console.print(f"limpet bench replay: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if svg_file is not None:
        svg_file.write_text(svg(played), encoding="utf-8")
    write_figures(json_file, figures(played))


def figures(played: list[Comparison]) -> dict[str, Any]:
    """The first trace's, and all further ones' under their names."""
    return {**played[0].as_json(), "families": {each.name: each.as_json() for each in played[1:]}}


def default_world() -> World:
    """Four sellers of one model in an hour in which one's price doubles and two have troubles."""
    data = resources.files("limpet_lab").joinpath("data/replay")
    with resources.as_file(data.joinpath("providers")) as directory:
        known: KnownProviders = load_providers(directory)
    troubles = read_troubles(data.joinpath("troubles.yaml").read_text(encoding="utf-8"))
    sellers = sellers_of(known.catalog, _MODEL, known.vendor_of, troubles)
    return World(known.catalog, _MODEL, sellers, BEGINS.timestamp())


def _traces(file: Path | None, family_names: list[str], seed: int) -> Mapping[str, Trace]:
    if unknown := [name for name in family_names if name not in FAMILY_NAMES]:
        message = f"there is no family {unknown[0]!r}: use {', '.join(FAMILY_NAMES)}"
        raise typer.BadParameter(message, param_hint="--family")
    traces: dict[str, Trace] = {}
    if file is not None:
        traces[file.stem] = read_trace(file)
    elif not family_names:
        with resources.as_file(resources.files("limpet_lab").joinpath("data/replay/mooncake_sample.jsonl")) as sample:
            traces["sample of a Mooncake trace"] = read_trace(sample)
    return traces | {name: family(name, seed) for name in family_names}


async def _play(traces: Mapping[str, Trace], console: Console) -> list[Comparison]:
    world = default_world()
    played: list[Comparison] = []
    for name, trace in traces.items():
        for note in trace.notes:
            console.print(f"{name}: {note}", markup=False, highlight=False, soft_wrap=True)
        with console.status(name) as status:
            comparison = await compare(name, trace, world, say=status.update)
        console.print(table(comparison))
        played.append(comparison)
    return played
