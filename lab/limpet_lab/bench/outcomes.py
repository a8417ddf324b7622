"""`limpet bench outcomes`: whether each request under load has exactly one outcome, also while its readers stop.

A gateway with its activity service takes an exact number of requests, with one worker and with two, and then as many
while each worker in turn is stopped for a second (SIGSTOP). Afterwards the workers' own counters, the activity log and
Envoy's counters of its access log have to agree with what was sent.
"""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from limpet_lab.bench.faults.shared_redis import RedisMissingError
from limpet_lab.bench.latency_cell import CONNECTIONS
from limpet_lab.bench.outcomes_figures import OutcomesRun, table, verdict
from limpet_lab.bench.outcomes_gateway import counted_gateway
from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart

_WORKERS: Final = (1, 2)


def outcomes(
    requests: Annotated[int, typer.Option(help="Requests of each run.", min=100)] = 10_000,
    stop_seconds: Annotated[float, typer.Option(help="How long each worker in turn is stopped.", min=0.2)] = 1.0,
    json_file: JsonFile = None,
) -> None:
    """Count what an exact number of requests comes to, and again while each worker stops for a second."""
    console = Console()
    try:
        runs = asyncio.run(_measured(requests, stop_seconds, console.print))
    except RedisMissingError as error:
        console.print(f"limpet bench outcomes: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except (CannotStart, ChildDied) as error:
        console.print(f"limpet bench outcomes: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(table(runs), verdict(runs), sep="\n")
    held = not any(run.missing for run in runs)
    write_figures(json_file, {"runs": msgspec.to_builtins(runs), "connections": CONNECTIONS, "held": held})
    if not held:
        raise typer.Exit(1)


async def _measured(requests: int, stop_s: float, say: Callable[[str], None]) -> list[OutcomesRun]:
    runs = []
    for workers in _WORKERS:
        with tempfile.TemporaryDirectory(prefix="lmp-") as name:
            async with counted_gateway(workers, Path(name)) as gateway:
                await gateway.warm_up()
                for stopped_s in (0.0, stop_s):
                    runs.append(await gateway.run(requests, stopped_s))
                    say(f"{'one worker' if workers == 1 else 'two workers'}, stopped for {stopped_s:g} s: done")
    return runs
