"""What the lab adds to the `limpet` command."""

from pathlib import Path
from typing import Annotated

import typer

from limpet_lab import simulate as simulation
from limpet_lab.bench.apply import apply
from limpet_lab.bench.bodies import bodies
from limpet_lab.bench.infron import infron
from limpet_lab.bench.latency import latency
from limpet_lab.bench.memory import memory
from limpet_lab.bench.reload import reload
from limpet_lab.demo.command import demo

__all__ = ["bench", "demo", "simulate"]

bench = typer.Typer(no_args_is_help=True, help="Measure: does stickiness pay, and what does the gateway cost in time?")
for each in (apply, bodies, infron, latency, memory, reload):
    bench.command()(each)


def simulate(
    file: Annotated[
        Path, typer.Argument(help="YAML with the simulated sellers, for example examples/quickstart/sellers.yaml.")
    ],
) -> None:
    """Run simulated providers with real cache rules, usage fields, faults and bills."""
    raise typer.Exit(simulation.run(file))
