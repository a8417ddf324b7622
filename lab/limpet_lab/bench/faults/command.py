"""`limpet bench faults`: what clients notice of each fault."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from limpet_lab.bench.faults.bed import FaultBed
from limpet_lab.bench.faults.campaign import FULL, SHORT, LoadPace, NotSettledError, campaign
from limpet_lab.bench.faults.rows import FLAKY_NAME, FaultRow, as_json, flaky_row, row_of
from limpet_lab.bench.faults.shared_redis import RedisMissingError
from limpet_lab.bench.faults.show import line, table
from limpet_lab.bench.faults.table import FAULTS, CampaignFault
from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_lab.sim.sellers import SellerFailedError
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart

_NAMES = [*(fault.name for fault in FAULTS), FLAKY_NAME]


def _known(only: list[str]) -> list[str]:
    unknown = [name for name in only if name not in _NAMES]
    if unknown:
        raise typer.BadParameter(f"no fault {unknown[0]}; there are: {', '.join(_NAMES)}")
    return only


def faults(
    seed: Annotated[int, typer.Option(help="Repeats a run: what is said, and when each conversation speaks.")] = 1,
    only: Annotated[list[str], typer.Option(help="Only the fault of this name; repeatable.", callback=_known)] = [],  # noqa: B006 (typer's way to say none)
    short: Annotated[
        bool, typer.Option("--short", help="A few faults for a few seconds each: less than a minute.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Break one thing after another under steady load, and measure what clients notice: under ten minutes."""
    console = Console()
    chosen = [each for each in FAULTS if (each.name in only if only else each.short or not short)]
    try:
        rows = asyncio.run(_played(chosen, seed, SHORT if short else FULL, console)) if chosen else []
    except RedisMissingError as error:
        console.print(f"limpet bench faults: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except (CannotStart, ChildDied, NotSettledError, SellerFailedError) as error:
        console.print(f"limpet bench faults: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if not only or FLAKY_NAME in only:
        rows.append(flaky_row(seed))
        _say(console, rows[-1])
    console.print(table(rows))
    write_figures(json_file, as_json(rows, seed))
    if not all(row.held for row in rows):
        console.print(f"Repeat it with --seed {seed}.")
        raise typer.Exit(1)


async def _played(chosen: Sequence[CampaignFault], seed: int, pace: LoadPace, console: Console) -> list[FaultRow]:
    console.print("starting three sellers, Redis, and two gateways with an operator each …")
    rows = []
    async with FaultBed.start() as bed:
        async for played in campaign(bed, chosen, seed, pace):
            rows.append(row_of(played))
            _say(console, rows[-1])
    return rows


def _say(console: Console, row: FaultRow) -> None:
    console.print(line(row), markup=False, highlight=False, soft_wrap=True)
